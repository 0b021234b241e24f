"""Embedding tables, shared by name, and the vectors of a group of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import tensorflow as tf

from model.preprocessing import MISSING_ROW
from model.random_numbers import RandomNumbers
from model.seen_first import seen_first
from pipeline.features import Feature, Features, MultiCategorical, Numeric


class Embedding(tf.keras.layers.Layer):
    """Embeds a group of features: `[...]` encoded tensors to one `[..., E]` vector.

    Embeddings of categorical values, averages of multi-valued ones, and numbers with their
    missing indicators are concatenated in the order of declaration. Features that name the
    same table share it, across groups.

    Args:
        features: the scenario's features.
        table_rows: rows of each table, as `Preprocessing.table_rows`.
        dimension: columns of a table that declares none.
        random_numbers: the model's.
        id_dropout: in training, an item id is hidden with this probability, as if it were
            outside the vocabulary, so that the model learns to do without.
    """

    def __init__(
        self,
        features: Features,
        table_rows: Mapping[str, int],
        dimension: int,
        random_numbers: RandomNumbers,
        *,
        id_dropout: float = 0.0,
    ) -> None:
        super().__init__(name="embedding")
        self._features, self._random = features, random_numbers
        self._id_dropout = id_dropout
        self.tables: dict[str, tf.Variable] = {}
        for table, rows in table_rows.items():
            declared = features.tables.get(table)
            columns = declared.dimension if declared and declared.dimension else dimension
            self.tables[table] = self.add_weight(table, [rows, columns], initializer="uniform")

    def call(self, encoded: Mapping[str, tf.Tensor], group: Sequence[Feature], training: bool = False) -> tf.Tensor:
        """The group's vectors, `[..., E]`.

        Args:
            encoded: what `Preprocessing` gives.
            group: features of one group, for instance `features.query_features`; at least one.
        """
        parts: list[tf.Tensor] = []
        for are_numbers, features in groupby(group, key=lambda feature: feature.table is None):
            if are_numbers:
                names = [name for feature in features for name in _number_names(feature)]
                parts.append(tf.stack([encoded[name] for name in names], axis=-1))
            else:
                parts += [self._embed(encoded[feature.name], feature, training) for feature in features]
        return tf.concat(parts, axis=-1)

    def looked_up_norm(self, encoded: Mapping[str, tf.Tensor], masks: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Sum of squares of the rows that the batch looks up, each row once: for the L2 penalty.

        Of several replicas the first one that looks a row up counts it: they add up to the global batch's sum.

        A penalty on whole tables would touch every row at every step. Row 0, of missing
        values and padding, is left out.

        Args:
            masks: which positions are real, `behavior` `[B, T]` and `candidate` `[B, N]`.
        """
        rows: dict[str, list[tf.Tensor]] = {}
        for feature in self._features.encoded:
            if feature.table:
                real = encoded[feature.name]
                if feature.group in masks:
                    real = tf.boolean_mask(real, masks[feature.group])
                rows.setdefault(feature.table, []).append(tf.reshape(real, [-1]))
        looked_up = seen_first([_real_rows(of_table) for of_table in rows.values()])
        embeddings = [tf.gather(self.tables[table], own) for table, own in zip(rows, looked_up, strict=True)]
        return tf.add_n([tf.reduce_sum(tf.square(of_table)) for of_table in embeddings])

    def _embed(self, values: tf.Tensor, feature: Feature, training: bool) -> tf.Tensor:
        if training and self._id_dropout and feature.field == "item_id":
            values = self._hide(values, str(feature.table))
        embeddings = tf.gather(self.tables[str(feature.table)], values)
        return (
            _mean(embeddings, values != MISSING_ROW)
            if isinstance(feature.declaration, MultiCategorical)
            else embeddings
        )

    def _hide(self, rows: tf.Tensor, table: str) -> tf.Tensor:
        """Some rows replaced by one for unknown values: any out-of-vocabulary row, or of a hashed table the missing."""
        declared = self._features.tables[table]
        unknown = self._random.integers(tf.shape(rows), 1, 1 + declared.oov_buckets)
        if declared.hash_buckets:
            unknown = tf.fill(tf.shape(rows), MISSING_ROW)
        return tf.where(self._random.uniform(tf.shape(rows)) < self._id_dropout, unknown, rows)


def _real_rows(rows: list[tf.Tensor]) -> tf.Tensor:
    """Each row once, without that of missing values."""
    unique, _ = tf.unique(tf.concat(rows, axis=0))
    return tf.boolean_mask(unique, unique != MISSING_ROW)


def _number_names(feature: Feature) -> list[str]:
    """The encoded tensors of a number: its value, and whether it is missing where it may be."""
    optional = isinstance(feature.declaration, Numeric) and feature.declaration.optional
    return [feature.name, f"{feature.name}/missing"] if optional else [feature.name]


def _mean(embeddings: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Mean over the values `[..., L, E]` that are real `[..., L]`; zeros where none is."""
    weights = tf.cast(real, embeddings.dtype)[..., tf.newaxis]
    return tf.math.divide_no_nan(tf.reduce_sum(embeddings * weights, axis=-2), tf.reduce_sum(weights, axis=-2))
