"""Refuses embedding tables that cannot fit, before they are made."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from model.run_directory import CHECKPOINTS
from model.training.available_memory import available_memory
from model.training.bytes_text import bytes_text
from model.training.checkpoints import KEPT
from model.training.table_size import TableSize
from pipeline.errors import InputError

_NAMED = 3
_REMEDY = (
    "raise min_count of a vocabulary, give a table hash_buckets or fewer of them, a smaller `dimension`, or lower "
    "model.embedding_dimension"
)


def check_room(
    sizes: Sequence[TableSize], directory: Path, *, continued: bool, from_run: Sequence[TableSize] = ()
) -> None:
    """Checks that the tables fit into memory, and the checkpoints of a new training onto the disk.

    At its end a training reads the weights of the best epoch beside what it holds, and one that is continued reads
    a whole checkpoint. On a GPU it is the making of a table that takes most, three times its weights.

    Args:
        sizes: of all tables, the largest first.
        directory: the run's; need not be there yet.
        continued: from a checkpoint.
        from_run: sizes of the run that it starts from, which is held until its weights and state are copied, and of
            which a table's rows are copied at a time.

    Raises:
        InputError: they do not.
    """
    weights, held = sum(size.weight_bytes for size in sizes), sum(size.bytes for size in sizes)
    memory = available_memory()
    if memory is not None:
        of_run = sum(size.bytes for size in from_run) + max((size.bytes for size in from_run), default=0)
        # the best epoch's weights, or a checkpoint, are read when that is gone
        needed = held + max(held if continued else weights, of_run)
        if memory.on_gpu:
            needed = max(held, weights + 2 * sizes[0].weight_bytes) + of_run
        if needed > memory.bytes:
            raise InputError(
                f"embedding tables: training needs {bytes_text(needed)} of memory for them, and {memory.of} has "
                f"{bytes_text(memory.bytes)}; {_largest(sizes)}; {_REMEDY}, or train where there is more"
            )
    if continued:
        return
    # A checkpoint is written before the oldest is deleted; each may have a best epoch of its own.
    needed = (KEPT + 1) * (held + weights)
    free = _free(directory)
    if needed > free:
        raise InputError(
            f"{directory}: the checkpoints of the embedding tables need {bytes_text(needed)} of disk, and "
            f"{bytes_text(free)} are free; {_largest(sizes)}; {_REMEDY}, or name a directory on a larger disk"
        )


def _largest(sizes: Sequence[TableSize]) -> str:
    named = [f"`{size.name}` ({size.rows:,} rows of {size.columns:,})" for size in sizes[:_NAMED]]
    return f"the largest {'is' if len(named) == 1 else 'are'} {', '.join(named)}"


def _free(directory: Path) -> int:
    """With what the checkpoints of a training that was there take, which are deleted first."""
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    old = sum(path.stat().st_size for path in (directory / CHECKPOINTS).glob("*"))
    return shutil.disk_usage(there).free + old
