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
        given: the columns of `item`, `query` and `user`, and of `impression` where the source shows real lists.
            A number may be missing in it where its field is nullable.

    Raises:
        InputError: names the feature and the columns that there are.
    """
    declared = {
        "item": features.item_features,
        "impression": features.impression_features,
        "query": features.query_features,
        "user": tuple(feature for feature in features.user_features if feature.as_of is None),
    }
    for group, feature in ((group, feature) for group, of_group in declared.items() for feature in of_group):
        if group not in given:
            raise InputError(
                f"features.{group}.{feature.field}: the candidates of this source were never shown in a list, so it "
                f"has no {group}s; the sources that have: search_log (fields of `candidates`), trivago"
            )
        schema = given[group]
        place = schema.get_field_index(feature.column)
        if place < 0 or schema.field(place).type != pa.type_for_alias(feature.spec.dtype):
            columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
            raise InputError(
                f"features.{group}.{feature.field}: reads `{feature.column}` as {feature.spec.dtype}; "
                f"the columns that this source has for `{group}`: {columns}"
            )
        number = feature.declaration if isinstance(feature.declaration, Numeric) else None
        if number is not None and not number.optional and schema.field(place).nullable:
            raise InputError(
                f"features.{group}.{feature.field}: `{feature.column}` is missing in some rows of this source; "
                "add `optional: true`"
            )
