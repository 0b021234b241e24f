"""Amazon metadata to items: what the releases of the data set call a field, and how they write it."""

from __future__ import annotations

import html
import math
import re
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.raw_tables import Reject
from pipeline.rejects import reject_rows
from pipeline.sources.layout import Layout
from pipeline.sources.rows import column

#: The fields that are read. A price is a number in 2014, a text in 2018 and either in 2023: all come as text.
#: A line tells its release by its fields.
METADATA_LAYOUTS = (
    Layout(
        pa.schema(
            [
                column("parent_asin", pa.string(), required=True),
                column("title", pa.string()),
                column("store", pa.string()),
                column("details", pa.struct([column("Brand", pa.string())])),
                column("categories", pa.list_(pa.string())),  # one path
                column("price", pa.string(), decimals=True),
            ]
        ),
        marks=("parent_asin", "main_category"),  # 2023
    ),
    Layout(
        pa.schema(
            [
                column("asin", pa.string(), required=True),
                column("title", pa.string()),
                column("brand", pa.string()),
                column("categories", pa.list_(pa.list_(pa.string()))),  # 2014: several paths
                column("category", pa.list_(pa.string())),  # 2018: one path
                column("price", pa.string(), decimals=True),
            ]
        )
    ),
)
ITEMS_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("category", pa.string()),
        ("price", pa.float32()),
    ]
)
#: After a category's path the 2018 files go on with the product's description; names are shorter than that.
_LONGEST_NAME = 50
_AMOUNT = r"\$?\s*(\d[\d,]{0,12}(?:\.\d+)?)"
_PRICE = re.compile(rf"(?:from\s+)?{_AMOUNT}(?:\s*-\s*{_AMOUNT})?")


def parse_metadata(raw: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
    """Items of rows of a metadata file, of one release.

    Titles, brands and categories lose HTML escapes and superfluous white space. A category is
    the deepest of the item's paths, joined by ` > `: a name such as "Sets" alone stands under
    several parents. The brand of 2023 is the store, or the details' brand where there is none. A
    price is in dollars: the middle of a range, the lowest of "from 12.99", NaN for a text that is no
    amount (style sheets are common).

    Args:
        raw: in the schema of one of `METADATA_LAYOUTS`.

    Returns:
        Items in `ITEMS_SCHEMA`, and the rows with a negative or infinite price.
    """
    rows = raw.to_pylist()
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is bad anyway
        price = np.array([_dollars(row["price"]) for row in rows], np.float64).astype(np.float32)
    bad = (price < 0) | np.isinf(price)
    columns = [
        raw.column(0),
        pa.array([_one_line(row["title"]) for row in rows], pa.string()),
        pa.array([_one_line(_brand(row)) for row in rows], pa.string()),
        pa.array([_deepest(_paths(row)) for row in rows], pa.string()),
        pa.array(price),
    ]
    rejects = list(reject_rows(raw.filter(pa.array(bad)), "`price` is negative or infinite", table="items"))
    return pa.RecordBatch.from_arrays(columns, schema=ITEMS_SCHEMA).filter(pa.array(~bad)), rejects


def _brand(row: dict[str, Any]) -> str:
    return row["brand"] if "brand" in row else row["store"] or row["details"]["Brand"]


def _paths(row: dict[str, Any]) -> list[list[str]]:
    return [*row["categories"], row["category"]] if "category" in row else [row["categories"]]


def _one_line(text: str) -> str:
    return " ".join(html.unescape(text).split())


def _deepest(paths: list[list[str]]) -> str:
    """The longest path, the first of several that are equally long."""
    deepest = max((_names(path) for path in paths), key=len)
    return " > ".join(deepest)


def _names(path: list[str]) -> list[str]:
    """The names of a path, up to where HTML or a description begins."""
    names = []
    for value in path:
        name = _one_line(value)
        if not name or "<" in name or name.endswith(".") or len(name) > _LONGEST_NAME:
            break
        names.append(name)
    return names


def _dollars(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        match = _PRICE.fullmatch(text.strip())
    amounts = [float(amount.replace(",", "")) for amount in match.groups() if amount] if match else [math.nan]
    return sum(amounts) / len(amounts)
