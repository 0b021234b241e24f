"""What differs between two sets of settings."""

from __future__ import annotations

import pytest

from pipeline.setting_difference import setting_difference

MADE = {"name": "a", "model": {"experts": {"count": 4, "layers": (8, 4)}, "pooling": "sum"}, "slices": ()}


def test_the_first_key_is_named_with_both_values() -> None:
    wanted = {**MADE, "model": {"experts": {"count": 3, "layers": (8, 4)}, "pooling": "mean"}}
    assert setting_difference(MADE, MADE) == ""
    assert setting_difference(MADE, wanted) == "`model.experts.count: 4` and the scenario says `3`"
    assert setting_difference(MADE, wanted, lambda key: "count" not in key).startswith("`model.pooling: sum`")
    assert setting_difference(MADE, wanted, lambda key: not key.startswith("model.")) == ""


@pytest.mark.parametrize("made_has_it", [True, False])
def test_a_key_that_one_of_them_lacks_differs(made_has_it: bool) -> None:
    more = {**MADE, "tables": {"item": {"oov_buckets": 2}}}
    pair = (more, MADE) if made_has_it else (MADE, more)
    values = ("2", "None") if made_has_it else ("None", "2")
    assert setting_difference(*pair) == f"`tables.item.oov_buckets: {values[0]}` and the scenario says `{values[1]}`"
