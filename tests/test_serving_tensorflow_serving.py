"""The exported SavedModel under TensorFlow Serving's batching, which joins and pads requests in a way of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from exported_tiny_model import exported_tiny_model
from served_requests import request_arrays

OUTPUTS = {"session_gate": "gate", "score_items": "scores"}


@pytest.fixture(scope="module")
def signatures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = tf.saved_model.load(str(exported_tiny_model(tmp_path_factory.mktemp("exported")) / "1"))
    return model.signatures  # nothing else of the model is kept


def joined_as_tensorflow_serving_does(tasks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """`pad_variable_length_inputs`: each tensor is padded with its own first element, then all are joined.

    From its `batching_session.cc`: every dimension but the first grows to the largest of the batch.
    """
    joined = {}
    for name in tasks[0]:
        tensors = [task[name] for task in tasks]
        largest = np.max([tensor.shape for tensor in tensors], axis=0)
        padded = []
        for tensor in tensors:
            after = [(0, 0)] + [(0, size - own) for size, own in zip(largest[1:], tensor.shape[1:], strict=True)]
            padded.append(np.pad(tensor, after, constant_values=tensor.flat[0]))
        joined[name] = np.concatenate(padded)
    return joined


def run(signatures: Any, signature: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    (output,) = signatures[signature](**{name: tf.constant(values) for name, values in arrays.items()}).values()
    return output.numpy()


@pytest.mark.parametrize("signature", OUTPUTS)
def test_a_count_beyond_the_padded_length_is_the_length(signature: str, signatures: Any) -> None:
    """The server does not look at counts."""
    arrays = request_arrays(signature, batch=3, behaviors=4, candidates=5, seed=7)
    lengths = {"behavior_count": 4, "candidate_count": 5}
    within = arrays | {name: np.full(3, length) for name, length in lengths.items() if name in arrays}
    beyond = within | {name: within[name] + 77 for name in lengths if name in arrays}
    np.testing.assert_array_equal(run(signatures, signature, beyond), run(signatures, signature, within))


def test_no_candidates_have_no_scores(signatures: Any) -> None:
    """Nor do they end the server's process, as a product without columns would."""
    arrays = request_arrays("score_items", batch=2, behaviors=4, candidates=1, seed=7)
    for name, values in arrays.items():
        if name.startswith("candidate_") and values.ndim == 2:
            arrays[name] = values[:, :0]
    assert run(signatures, "score_items", arrays).shape == (2, 0)


@pytest.mark.parametrize("signature", OUTPUTS)
@pytest.mark.parametrize("seed", range(4))
def test_a_batch_has_the_scores_of_its_requests(signature: str, seed: int, signatures: Any) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, (3, 7, 9), (6, 3), endpoint=True).tolist()
    tasks = [
        request_arrays(signature, batch, behaviors, candidates, 100 * seed + index)
        for index, (batch, behaviors, candidates) in enumerate(sizes)
    ]
    # a user without behaviours: T = 1, and the one behaviour means nothing
    new_user = request_arrays(signature, batch=1, behaviors=1, candidates=3, seed=99)
    new_user["behavior_count"][:] = 0
    tasks.insert(2, new_user)
    joined = joined_as_tensorflow_serving_does(tasks)
    if signature == "score_items":
        beyond = np.arange(joined["candidate_price"].shape[1]) >= joined["candidate_count"][:, None]
        assert beyond.any()
        assert (joined["candidate_item_id"][beyond] != b"").any(), "padding looks like items"

    together = run(signatures, signature, joined)
    start = 0
    for task in tasks:
        alone = run(signatures, signature, task)
        own = together[start : start + len(alone), : alone.shape[1]]
        real = np.arange(alone.shape[1]) < task.get("candidate_count", np.array([alone.shape[1]] * len(alone)))[:, None]
        np.testing.assert_allclose(own[real], alone[real], atol=1e-5)
        start += len(alone)
    assert start == len(together)
