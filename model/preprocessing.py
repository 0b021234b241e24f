"""Raw values to what the model takes: ids, normalised numbers, fingerprints.

The same graph runs in the input pipeline when training and inside the SavedModel when
serving, where its vocabularies travel as assets, so the two cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf

from model.table_rows import table_rows
from pipeline.encoding_assets import EncodingAssets
from pipeline.features import COUNTS, Feature, Features, Group, MultiCategorical, Numeric

#: Standardised numbers are clipped to this many deviations: one absurd price must not
#: reach the product of gate and experts.
MAX_DEVIATIONS = 10.0
#: Row 0 of every table: a missing value, and the padding of a multi-valued one.
MISSING_ROW = 0
#: The row of values outside a vocabulary; the first one of a table that has several.
_OUT_OF_VOCABULARY = 1
_FINGERPRINTS = 2**62


class Preprocessing(tf.Module):
    """Encodes a dict of raw tensors, `[B]`, `[B, T]` or `[B, N]`, into a dict of encoded ones.

    For a feature `name` the result has, of the raw tensor's shape `S`:

    - categorical: `name`, int32 rows of its table;
    - multi-valued: `name`, int32 `[S..., L]`, padded with 0, `L` the batch's largest number of values, at least 1;
    - numeric: `name`, float32, `log(1 + x)` where declared, then standardised; 0 where missing;
      `name/missing`, 0 or 1, if it is optional;
    - bucketised: `name`, int32 rows of its table;
    - where a cross feature needs it: `name/fingerprint`, int64, 0 where missing, and
      `name/log`, `log(1 + x)`, -1 where missing.

    Counts are passed through. A number that is not finite is missing; a negative one whose
    logarithm is taken counts as 0. Only features whose tensor is given are encoded, so the
    gate's inputs can be encoded alone.

    Attributes:
        table_rows: rows of every embedding table, by its name.
    """

    def __init__(self, features: Features, assets: EncodingAssets) -> None:
        super().__init__(name="preprocessing")
        self._features = features
        self._assets = assets
        self._vocabularies: dict[str, tf.lookup.StaticHashTable] = {}
        self.table_rows = table_rows(features, assets)
        for name, path in assets.vocabularies.items():
            first_row = 1 + features.tables[name].oov_buckets
            if self.table_rows[name] > first_row:  # an empty file is none to TensorFlow
                self._vocabularies[name] = _vocabulary_table(str(path), first_row)
        crosses = features.cross.values()
        self._fingerprinted = {f"{group}_{c.field}" for c in crosses if c.kind == "match" for group in _PAIRED}
        self._logged = {f"{group}_{c.field}" for c in crosses if c.kind == "ratio" for group in _PAIRED}
        if self._fingerprinted:
            self._logged.add("behavior_age_days")

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes the features whose tensors are in `raw`."""
        encoded = {spec.name: raw[spec.name] for spec in COUNTS if spec.name in raw}
        numbers: dict[tuple[Group, Numeric], list[Feature]] = {}
        fingerprinted: dict[Group, list[str]] = {}
        for feature in self._features.encoded:
            name, declaration = feature.name, feature.declaration
            if name not in raw:
                continue
            if isinstance(declaration, Numeric):
                numbers.setdefault((feature.group, declaration), []).append(feature)
            elif isinstance(declaration, MultiCategorical):
                encoded[name] = self._split_rows(declaration, raw[name])
            else:
                encoded[name] = self.rows(declaration.table, raw[name])
            if name in self._fingerprinted:
                fingerprinted.setdefault(feature.group, []).append(name)
        # What is encoded alike is encoded as one: a session is small, and every operation costs a few microseconds.
        for (_, declaration), alike in numbers.items():
            values = tf.stack([raw[feature.name] for feature in alike])
            encoded.update(self._encode_numbers(alike, declaration, values))
        for names in fingerprinted.values():
            fingerprints = tf.unstack(_fingerprint(tf.stack([raw[name] for name in names])))
            encoded.update({f"{name}/fingerprint": each for name, each in zip(names, fingerprints, strict=True)})
        return encoded

    def rows(self, table: str, values: tf.Tensor) -> tf.Tensor:
        """Rows of the table, laid out as `[missing][out of vocabulary...][vocabulary...]`."""
        declared = self._features.tables[table]
        buckets = declared.hash_buckets or declared.oov_buckets
        known = self._vocabularies[table].lookup(values) if table in self._vocabularies else None
        if known is not None and buckets == 1:  # the row of values that are not known is the lookup's default
            rows = known
        else:
            rows = 1 + tf.strings.to_hash_bucket_fast(values, buckets)
            if known is not None:
                rows = tf.where(known == _OUT_OF_VOCABULARY, rows, known)
        return tf.cast(tf.where(values == "", tf.constant(MISSING_ROW, tf.int64), rows), tf.int32)

    def _encode_numbers(
        self, features: Sequence[Feature], declaration: Numeric, values: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Of features that are declared alike, `values` `[F, ...]`."""
        statistics = [self._assets.numeric[feature.statistic] for feature in features]
        known, logarithms = tf.math.is_finite(values), _log1p(values)
        numbers = logarithms if declaration.log else values
        encoded: dict[str, tf.Tensor] = {}
        if any(feature.name in self._logged for feature in features):
            logged = tf.unstack(tf.where(known, logarithms, -1.0))
            encoded |= {f"{f.name}/log": log for f, log in zip(features, logged, strict=True) if f.name in self._logged}
        if declaration.buckets:
            rows = [
                1 + tf.raw_ops.Bucketize(input=own, boundaries=list(statistic.boundaries))
                for own, statistic in zip(tf.unstack(numbers), statistics, strict=True)
            ]
            values = tf.where(known, tf.stack(rows), MISSING_ROW)
            return encoded | {feature.name: own for feature, own in zip(features, tf.unstack(values), strict=True)}
        if declaration.standardize:
            shape = [len(features), *[1] * (values.shape.rank - 1)]
            means = tf.constant([statistic.mean for statistic in statistics], tf.float32, shape)
            deviations = (numbers - means) / tf.constant([each.std or 1.0 for each in statistics], tf.float32, shape)
            numbers = tf.clip_by_value(deviations, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        numbers = tf.unstack(tf.where(known, numbers, 0.0))
        encoded |= {feature.name: own for feature, own in zip(features, numbers, strict=True)}
        if declaration.optional:
            missing = tf.unstack(tf.cast(~known, tf.float32))
            encoded |= {f"{feature.name}/missing": own for feature, own in zip(features, missing, strict=True)}
        return encoded

    def _split_rows(self, declaration: MultiCategorical, values: tf.Tensor) -> tf.Tensor:
        # With one separator between two values and none before, pieces are the values; an empty one is a missing value.
        separators = f"(?:{re.escape(declaration.separator)})+"
        texts = tf.strings.regex_replace(tf.reshape(values, [-1]), f"^{separators}", "")
        texts = tf.strings.regex_replace(texts, separators, declaration.separator.replace("\\", r"\\"))
        pieces = tf.raw_ops.StringSplitV2(input=texts, sep=declaration.separator)
        # What is too much shares one place more, which is cut: a text of a million values takes no million places.
        indices = tf.minimum(pieces.indices, [tf.int64.max, declaration.max_values])
        shape = tf.minimum(pieces.shape, [tf.int64.max, declaration.max_values + 1])
        rows = tf.scatter_nd(indices, self.rows(declaration.table, pieces.values), shape)[:, : declaration.max_values]
        return tf.reshape(rows, tf.concat([tf.shape(values), tf.shape(rows)[1:]], axis=0))


_PAIRED = ("behavior", "candidate")


def _vocabulary_table(path: str, first_row: int) -> tf.lookup.StaticHashTable:
    """Value to row, the first line's being `first_row`."""
    lines = tf.lookup.TextFileInitializer(
        path,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        value_index_offset=first_row,
    )
    return tf.lookup.StaticHashTable(lines, default_value=_OUT_OF_VOCABULARY)


def _fingerprint(values: tf.Tensor) -> tf.Tensor:
    fingerprints = 1 + tf.strings.to_hash_bucket_fast(values, _FINGERPRINTS)
    return tf.where(values == "", tf.constant(0, tf.int64), fingerprints)


def _log1p(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log1p(tf.maximum(values, 0.0))
