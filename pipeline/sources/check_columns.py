"""What a scenario's features read, against what a source has."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.features import Features, Numeric


def check_columns(features: Features, given: Mapping[str, pa.Schema]) -> None:
    """Refuses a feature that reads a column which the source does not have, or has as another type.

    For a source whose columns are its own, unlike the search log's, which are what the features name.

    Args:
        features: of the scenario.
        given: the columns of `item`, `query` and `user`. Any number may be missing in it.

    Raises:
        InputError: names the feature and the columns that there are.
    """
    for feature in features.candidate_features + features.query_features + features.user_features:
        if feature.as_of is not None:
            continue
        group = "item" if feature.group == "candidate" else feature.group
        schema = given[group]
        if pa.field(feature.column, pa.type_for_alias(feature.spec.dtype)) not in list(schema):
            columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
            raise InputError(
                f"features.{group}.{feature.field}: reads `{feature.column}` as {feature.spec.dtype}; "
                f"the columns that this source has for `{group}`: {columns}"
            )
        if isinstance(feature.declaration, Numeric) and not feature.declaration.optional:
            raise InputError(
                f"features.{group}.{feature.field}: `{feature.column}` is missing in some rows of this source; "
                "add `optional: true`"
            )
