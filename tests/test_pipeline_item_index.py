"""Looking up item ids: as a dictionary does, whatever collides."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import item_index
from pipeline.item_index import ItemIndex

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4)


def build(names: list[str]) -> ItemIndex:
    items = pa.RecordBatch.from_pydict({"item_id": pa.array(names, pa.string()), "title": pa.array(names, pa.string())})
    return ItemIndex(ItemIndex.build(items, (), seed=3))


def expected(names: list[str], wanted: list[str]) -> list[int]:
    rows = {name: row for row, name in enumerate(sorted(set(names), key=str.encode))}
    return [rows.get(name, -1) for name in wanted]


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES, max_size=12), st.lists(NAMES, max_size=12))
def test_rows_are_those_of_a_dictionary(names: list[str], others: list[str]) -> None:
    wanted = [*others, *names, *names]
    assert build(names).rows(pa.array(wanted, pa.string())).tolist() == expected(names, wanted)


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def few_hashes(values: pa.Array, seed: int) -> Any:
        return np.array([len(value) for value in values.to_pylist()], np.uint64)

    monkeypatch.setattr(item_index, "hash_texts", few_hashes)
    names = ["a", "b", "c", "dd", "ee", ""]
    wanted = ["c", "ee", "x", "", "yy", "zzz", "a", "b", "dd"]
    assert build(names).rows(pa.array(wanted)).tolist() == expected(names, wanted)
