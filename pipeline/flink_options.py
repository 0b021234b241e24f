"""Options of Beam's Flink runner that Beam's Python side does not declare."""

from __future__ import annotations

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

#: With Flink's own default, PIPELINED, the job stalls: side inputs make stages wait for stages that Flink
#: would only start with them.
DEFAULT_EXECUTION_MODE = "BATCH_FORCED"


class FlinkOptions(PipelineOptions):
    """Being imported, it makes Beam's parser know these; the job server reads them."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--execution_mode_for_batch",
            choices=["PIPELINED", "PIPELINED_FORCED", "BATCH", "BATCH_FORCED"],
            help=f"How Flink hands data between stages; with --runner=FlinkRunner {DEFAULT_EXECUTION_MODE}.",
        )
