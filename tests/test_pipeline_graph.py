"""The shape of the job, without running it: what Beam's portable runners cannot run is not in it."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.portability.common_urns import primitives
from small_log import small_log, small_scenario, write_log

from pipeline.config import Scenario
from pipeline.run import preprocess
from pipeline.scenario_file import load_scenario

CONFIGS = Path(__file__).parent.parent / "configs"


class Built(Exception):  # noqa: N818
    """The job is composed and would run now."""


def transforms(scenario: Scenario, log: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The job's transforms that have no parts, as the runner gets them."""
    found: list[Any] = []

    def stop(self: beam.Pipeline, *_: Any, **__: Any) -> None:
        found.extend(self.to_runner_api().components.transforms.values())
        raise Built

    monkeypatch.setattr(beam.Pipeline, "run", stop)
    with pytest.raises(Built):
        preprocess(scenario, str(log), str(output))
    return [transform for transform in found if not transform.subtransforms and transform.inputs]


@pytest.mark.parametrize("source", ["search_log", "amazon", "amazon_search", "trivago"])
def test_what_a_flatten_joins_is_read_by_nothing_else(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "search_log":
        scenario, log = small_scenario(), write_log(tmp_path / "log", small_log())
    else:
        scenario, log = load_scenario(CONFIGS / f"{source}.yaml"), tmp_path / "log"
        log.mkdir()
        for name in ("meta_Tiny.json", "Tiny_5.json", "queries_Tiny.tsv", "events.jsonl"):
            (log / name).touch()
    leaves = transforms(scenario, log, tmp_path / "out", monkeypatch)
    flattens = [leaf for leaf in leaves if leaf.spec.urn == primitives.FLATTEN.urn]
    assert flattens
    for flatten in flattens:
        joined = set(flatten.inputs.values())
        others = [leaf.unique_name for leaf in leaves if leaf is not flatten and joined & set(leaf.inputs.values())]
        assert not others, f"{flatten.unique_name} shares its input with {others} (apache/beam#34647)"
