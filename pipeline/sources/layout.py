"""One way in which the lines of a table may be written."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Layout:
    """The fields of a line, where the releases of a data set differ in them.

    Attributes:
        schema: the wanted columns, made with `pipeline.sources.rows.column`.
        marks: a JSON line with one of these fields has this layout; without marks every line has it.
    """

    schema: pa.Schema
    marks: tuple[str, ...] = ()

    def has(self, line: bytes) -> bool:
        """Whether a JSON line has this layout; the line need not be sound.

        Inside of a text the quotes would be escaped, so only a name of a field is found.
        """
        return not self.marks or any(b'"%s"' % mark.encode() in line for mark in self.marks)
