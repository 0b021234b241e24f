"""Beam's options: what the local runner does with them, and which are refused."""

import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.beam_pipeline import beam_pipeline
from pipeline.errors import InputError
from pipeline.flink_options import FlinkOptions


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        ([], "in_memory"),
        (["--direct_num_workers=1"], "in_memory"),
        (["--direct_num_workers", "2"], "multi_processing"),
        (["--direct_num_workers=2", "--direct_running_mode=multi_threading"], "multi_threading"),
    ],
)
def test_several_local_workers_are_processes_unless_told_otherwise(arguments: list[str], mode: str) -> None:
    pipeline = beam_pipeline(arguments)
    assert isinstance(pipeline.runner, FnApiRunner)
    assert pipeline.options.view_as(DirectOptions).direct_running_mode == mode


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        ([], None),
        (["--runner=FlinkRunner"], "BATCH_FORCED"),
        (["--runner=FlinkRunner", "--execution_mode_for_batch=BATCH"], "BATCH"),
    ],
)
def test_flink_finishes_a_stage_before_the_next_unless_told_otherwise(arguments: list[str], mode: str | None) -> None:
    assert beam_pipeline(arguments).options.view_as(FlinkOptions).execution_mode_for_batch == mode


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--overwite"], "`--overwite`: neither an option of this command nor one of Beam's"),
        (["--direct_num_workers=2", "stray", "-x"], "`stray -x`: neither an option"),
        (["--direct_num_workers=two"], "Beam's option argument --direct_num_workers: invalid int value: 'two'"),
        (["--direct_running_mode=fast"], "invalid choice: 'fast'"),
        (["--runner=FlinkRunner", "--execution_mode_for_batch=fast"], "invalid choice: 'fast'"),
        (["--runner=Nope"], "--runner Nope: Beam says: Unexpected pipeline runner: Nope"),
        (["--runner=no.such.Runner"], "--runner no.such.Runner: Beam says: No module named 'no'"),
    ],
)
def test_what_beam_does_not_know_is_refused_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        beam_pipeline(arguments)
    assert "\n" not in str(told.value)
