"""A Beam pipeline from the options that the user gave on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner, SwitchingDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.errors import InputError
from pipeline.flink_options import DEFAULT_EXECUTION_MODE, FlinkOptions

#: Beam's own default may download another runner.
_LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def beam_pipeline(arguments: Sequence[str]) -> beam.Pipeline:
    """A pipeline with these options; without a `--runner` it runs in this process.

    There, several workers are processes unless `--direct_running_mode` says otherwise: Beam's
    own default would run them one after the other. `--runner=FlinkRunner` finishes a stage before
    the next one begins, unless `--execution_mode_for_batch` says otherwise.

    Raises:
        InputError: an option or the runner is none of Beam's, or has a value that it refuses.
    """
    _refuse_unknown(arguments)
    options = PipelineOptions(list(arguments))
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if standard.runner is None:
        standard.runner = _LOCAL_RUNNER
        if direct.direct_num_workers != 1 and not any(a.startswith("--direct_running_mode") for a in arguments):
            direct.direct_running_mode = "multi_processing"
    flink = options.view_as(FlinkOptions)
    if standard.runner.lower().endswith("flinkrunner") and flink.execution_mode_for_batch is None:
        flink.execution_mode_for_batch = DEFAULT_EXECUTION_MODE
    try:
        return beam.Pipeline(options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--runner {standard.runner}: Beam says: {' '.join(str(error).split())}") from None


def shuffles_in_memory(pipeline: beam.Pipeline) -> bool:
    """Whether the runner is one of Beam's local ones: their workers share this machine's disk, and do not use it."""
    return isinstance(pipeline.runner, FnApiRunner | SwitchingDirectRunner | BundleBasedDirectRunner)


def _refuse_unknown(arguments: Sequence[str]) -> None:
    """Beam itself would only warn of what it does not know, and exit with its usage for a bad value."""

    def check(parser: argparse.ArgumentParser) -> None:
        parser.exit_on_error = False  # raise instead
        _, unknown = parser.parse_known_args(arguments)
        if unknown:
            raise InputError(f"`{' '.join(unknown)}`: neither an option of this command nor one of Beam's")

    try:
        PipelineOptions(list(arguments)).get_all_options(add_extra_args_fn=check)  # the hook sees Beam's own parser
    except argparse.ArgumentError as error:
        raise InputError(f"Beam's option {error}") from None
