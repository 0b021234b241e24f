"""New prepared data against old: `awmoe validate`."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.config import Validation
from pipeline.data_statistics import load_data_statistics
from pipeline.errors import InputError
from pipeline.prepared_data import PARTS, SCHEMA, Part, PreparedData
from pipeline.validation.compare_schemas import compare_schemas
from pipeline.validation.compare_statistics import compare_statistics
from pipeline.validation.report import ValidationReport


def validate(
    new: PreparedData, old: PreparedData, thresholds: Validation, parts: Sequence[Part] = PARTS
) -> ValidationReport:
    """Compares the schemas and the statistics that the job wrote; the records are not read.

    Args:
        new: for instance today's data.
        old: what it is held against, for instance the data of the model that serves.
        thresholds: the scenario's section `validation`.
        parts: which to compare.

    Raises:
        InputError: a file is missing or damaged, or no part has sessions enough to be compared.
    """
    schemas = compare_schemas(_schema(new), _schema(old), thresholds)
    findings = compare_statistics(load_data_statistics(new.latest), load_data_statistics(old.latest), thresholds, parts)
    if all(finding.measure == "fewest_sessions" and not finding.above for finding in findings):
        sessions = ", ".join(f"{part} {new.sessions(part):,} and {old.sessions(part):,}" for part in parts)
        raise InputError(
            f"{new.directory} against {old.directory}: too few sessions to compare ({sessions}; "
            f"validation.fewest_sessions is {thresholds.fewest_sessions:,}); lower it with "
            "--set validation.fewest_sessions=NUMBER, or choose other data"
        )
    return ValidationReport([*schemas, *findings])


def _schema(data: PreparedData) -> schema_pb2.Schema:
    path = data.latest / SCHEMA
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except FileNotFoundError:
        raise InputError(f"{path}: not there; run `awmoe preprocess` again, which writes it") from None
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise InputError(f"{path}: is damaged ({error}); preprocess again") from None
