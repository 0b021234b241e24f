"""How large a model is."""

from __future__ import annotations

from typing import NamedTuple

from model.ranker import Ranker


class ParameterCount(NamedTuple):
    """Trained weights outside (`dense`) and inside embedding tables; Keras's own count has metrics in it."""

    dense: int
    tables: int


def parameter_count(model: Ranker) -> ParameterCount:
    """Counts the weights of a built model, as `new_run` and `load_run` give it."""
    tables = sum(int(table.shape.num_elements()) for table in model.embedding.trainable_variables)
    return ParameterCount(
        sum(int(weight.shape.num_elements()) for weight in model.trainable_variables) - tables, tables
    )
