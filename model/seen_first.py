"""What several replicas have, given to one of them."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def seen_first(rows: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The rows of several tables that no replica before this one has: those of all replicas are each row once.

    Args:
        rows: of each table int32 `[n]`, no row twice; `n` may differ among replicas.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return list(rows)
    # Numbered through all tables, so that they take one exchange.
    of_table = tf.int64.max // len(rows)
    numbers = tf.concat([tf.cast(own, tf.int64) + table * of_table for table, own in enumerate(rows)], axis=0)
    context = tf.distribute.get_replica_context()
    counts = context.all_gather(tf.size(numbers)[tf.newaxis], axis=0)
    everywhere = context.all_gather(numbers, axis=0)
    before = tf.reduce_sum(counts[: context.replica_id_in_sync_group])
    # Counted as they come, what is new has a higher count than all before.
    _, count = tf.unique(tf.concat([everywhere[:before], numbers], axis=0))
    new = count[before:] > tf.reduce_max(tf.concat([[-1], count[:before]], axis=0))
    of_tables = tf.split(new, [tf.size(own) for own in rows])
    return [tf.boolean_mask(own, new) for own, new in zip(rows, of_tables, strict=True)]
