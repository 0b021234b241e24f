"""The two models that the serving benchmark serves: one gate a session, and one a candidate."""

from __future__ import annotations

from pathlib import Path

from pipeline.quiet_tensorflow import quiet_tensorflow

with quiet_tensorflow():
    import tensorflow as tf

    from benchmarks.random_model import random_model
    from export.publish import export
    from export.scenario_asset import write_scenario_asset
    from model.run_directory import Run


def once_a_session(config: Path, output: Path, vocabulary: int) -> Run:
    """Exports the scenario with random weights to `output`."""
    run = random_model(output / "assets", config=config, rows=vocabulary)
    export(run, output)
    return run


def once_a_candidate(config: Path, output: Path, vocabulary: int) -> Path:
    """The same with `gate.context: target_item`, the paper's first design; its gates are computed with the scores.

    `awmoe export` refuses it, since it has no session gate. Here `session_gate` answers zeros, and
    `score_items` takes a gate without looking at it, so that the same server and requests do.

    Returns:
        The model's directory.
    """
    each = ["model.gate.context=target_item", "model.name=aw_moe"]
    run = random_model(output / "assets", each, config=config, rows=vocabulary)
    scenario = run.scenario
    features, experts = scenario.features, scenario.model.expert_count

    def session_gate(**raw: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"gate": tf.zeros([tf.shape(raw["behavior_count"])[0], experts])}

    def score_items(gate: tf.Tensor, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded = run.preprocessing(raw)
        return {"scores": run.model.scores(run.model.score_items(encoded, run.model.session_gate(encoded)))}

    specs = {
        spec.name: tf.TensorSpec([None, None] if spec.axis else [None], tf.as_dtype(spec.dtype), name=spec.name)
        for spec in features.score_inputs
    }
    gate_specs = {spec.name: specs[spec.name] for spec in features.gate_inputs}
    gate = {"gate": tf.TensorSpec([None, None], tf.float32, name="gate")}
    directory = output / scenario.export.model_name
    signatures = {
        "session_gate": tf.function(session_gate, autograph=False).get_concrete_function(**gate_specs),
        "score_items": tf.function(score_items, autograph=False).get_concrete_function(**specs, **gate),
    }
    module = tf.Module(name="aw_moe")
    module.preprocessing = run.preprocessing
    module.weights = [variable for function in signatures.values() for variable in function.variables]
    tf.saved_model.save(module, str(directory / "1"), signatures=signatures)
    write_scenario_asset(directory / "1", scenario)
    return directory
