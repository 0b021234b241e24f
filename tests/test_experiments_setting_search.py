"""The search for settings: it finds the better ones, and goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.setting_search import SettingSearch
from experiments.sweep_result import Setting


def value(setting: Setting) -> float:
    """Best at a mask probability of 0.1, 3 negatives and a weight of 0.05."""
    distances = (
        np.log(setting["mask_probability"] / 0.1),
        (setting["negatives"] - 3) / 3,
        np.log(setting["weight"] / 0.05),
    )
    return -float(np.square(distances).sum())


def test_a_search_that_is_stopped_proposes_the_same_again(tmp_path: Path) -> None:
    search = SettingSearch(tmp_path)
    first = search.propose(0)
    search.tell(first, value(first), 0)
    second = search.propose(1)
    assert second != first

    again = SettingSearch(tmp_path)
    assert again.propose(0) == first
    assert again.propose(1) == second, "it was not told a value: the search goes on with it"
    again.tell(first, 100.0, 0)  # counts no more
    again.tell(second, value(second), 1)
    assert again.propose(2) not in (first, second)


def test_what_was_tried_without_the_search_counts_once(tmp_path: Path) -> None:
    setting: Setting = {"mask_probability": 0.1, "negatives": 3, "weight": 0.05}
    for _ in range(2):
        SettingSearch(tmp_path).tell(setting, 0.7)
    SettingSearch(tmp_path).tell({**setting, "weight": 0.0}, 0.6)  # the loss switched off: not searched
    journal = (tmp_path / "search.journal").read_text()
    assert journal.count('"setting"') == 1


def test_it_finds_better_settings_than_it_began_with(tmp_path: Path) -> None:
    search = SettingSearch(tmp_path)
    values = []
    for number in range(40):
        setting = search.propose(number)
        assert 0.01 <= setting["mask_probability"] <= 0.5
        assert setting["negatives"] in range(1, 11)
        values.append(value(setting))
        search.tell(setting, values[-1], number)
    assert np.mean(values[-15:]) > np.mean(values[:15]) + 1
