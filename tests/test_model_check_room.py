"""Embedding tables that cannot fit are refused before they are made; their sizes are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from model.run_directory import new_run
from model.training import available_memory, check_room
from model.training.available_memory import AvailableMemory
from model.training.optimizer import optimizer
from model.training.optimizer_state import OptimizerState
from model.training.table_size import TableSize, table_sizes
from model.training.train import train
from pipeline.errors import InputError
from tiny_data import tiny_scenario, write_tiny_data

SIZES = [TableSize("item", 1000, 16), TableSize("brand", 10, 4)]  # 64,160 bytes of weights
WEIGHTS = 4 * (1000 * 16 + 10 * 4)


def test_a_table_that_cannot_fit_is_refused_before_it_is_made(tmp_path: Path) -> None:
    features = tiny_scenario().features.model_dump(mode="json", exclude_defaults=True)
    features["tables"]["tag"] = {"hash_buckets": 2_000_000_000_000}
    scenario = tiny_scenario(features=features)
    data = write_tiny_data(tmp_path / "data", scenario, sessions=4)
    message = (
        r"embedding tables: training needs 96.0 TB of memory for them, and this (machine|container) has .* GB; the "
        r"largest are `tag` \(2,000,000,000,001 rows of 4\), `item` \(15 rows of 4\), .*; raise min_count .*_buckets"
    )
    with pytest.raises(InputError, match=message):
        train(scenario, data, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("continued", "on_gpu", "from_run", "needed"),
    [
        (False, False, [], 3 * WEIGHTS),
        (True, False, [], 4 * WEIGHTS),
        (False, True, [], WEIGHTS + 2 * 64_000),
        (True, False, SIZES, 4 * WEIGHTS + 2 * 64_000),
        (False, True, SIZES, WEIGHTS + 2 * 64_000 + 2 * WEIGHTS + 2 * 64_000),
    ],
)
def test_what_fits_exactly_passes_and_a_byte_less_does_not(
    continued: bool,
    on_gpu: bool,
    from_run: list[TableSize],
    needed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for memory in (needed, needed - 1):
        monkeypatch.setattr(check_room, "available_memory", lambda m=memory: AvailableMemory(m, "the test", on_gpu))
        if memory == needed:
            check_room.check_room(SIZES, tmp_path, continued=continued, from_run=from_run)
        else:
            with pytest.raises(InputError, match="and the test has"):
                check_room.check_room(SIZES, tmp_path, continued=continued, from_run=from_run)


def test_checkpoints_that_do_not_fit_onto_the_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four checkpoints, each of weights, accumulators and the weights of a best epoch."""
    monkeypatch.setattr(check_room, "_free", lambda directory: 12 * WEIGHTS - 1)
    with pytest.raises(InputError, match=r"/run: the checkpoints of the embedding tables need 769.9 kB of disk, and"):
        check_room.check_room(SIZES, tmp_path / "run", continued=False)
    check_room.check_room(SIZES, tmp_path / "run", continued=True)


def test_a_containers_limit_counts_without_the_pages_of_files(tmp_path: Path) -> None:
    group = tmp_path / "outer/inner"
    group.mkdir(parents=True)
    for directory, limit in ((group, "max"), (group.parent, "1000")):
        (directory / "memory.max").write_text(f"{limit}\n")
        (directory / "memory.current").write_text("700\n")
        (directory / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    left = available_memory._left(tmp_path, "/outer/inner", "memory.max", "memory.current", "inactive_file")
    assert list(left) == [(450, "this container")]


def test_the_table_is_shown_before_training_and_adds_up(tmp_path: Path) -> None:
    class Shown(Exception):  # noqa: N818
        pass

    def show(table: Table) -> None:
        console = Console(width=80)
        with console.capture() as text:
            console.print(table)
        raise Shown(text.get())

    scenario = tiny_scenario()
    data = write_tiny_data(tmp_path / "data", scenario, sessions=4)
    with pytest.raises(Shown) as shown:
        train(scenario, data, tmp_path / "run", verbose=0, show=show)
    rows = [line.split() for line in str(shown.value).splitlines()[2:] if line.strip()]
    (item,) = (row for row in rows if row[0] == "item")
    assert item == ["item", "15", "4", "60", "240", "bytes", "240", "bytes"]
    counts = {row[0]: row for row in rows}
    tables = [int(row[3]) for name, row in counts.items() if name not in ("dense", "all") and len(row) > 4]
    dense = int(counts["dense"][2].replace(",", ""))
    assert int(counts["all"][1].replace(",", "")) == sum(tables) + dense


def test_sizes_are_the_largest_first_by_declared_columns() -> None:
    sizes = table_sizes(tiny_scenario(), {"tag": 9, "item": 15, "item_weight": 5})
    assert sizes == [TableSize("item", 15, 4), TableSize("tag", 9, 3), TableSize("item_weight", 5, 4)]
    assert (sizes[0].parameters, sizes[0].weight_bytes, sizes[0].bytes) == (60, 240, 480)


@pytest.mark.parametrize("name", ["adagrad", "lazy_adamw"])
def test_the_optimizers_bytes_are_those_of_its_variables(name: str, tmp_path: Path) -> None:
    scenario = tiny_scenario(training={"table_optimizer": name})
    run = new_run(scenario, write_tiny_data(tmp_path, scenario, sessions=4).assets(scenario.features))
    state = OptimizerState.of(optimizer(run.model, scenario.training))
    sizes = table_sizes(scenario, run.preprocessing.table_rows)
    kept = sum(4 * int(np.prod(variable.shape)) for variable in state.tables)
    assert sum(size.optimizer_bytes for size in sizes) == kept
