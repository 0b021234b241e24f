"""Prepared data as a flat table, one row a candidate: what models of other libraries take.

The rows are those of `model.predict.predict`, in its order, and the numbers and ids are those that the
neural models see: they come from `Preprocessing` and `CrossFeatures` themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import tensorflow as tf

from model.cross_features import CrossFeatures
from model.dataset import broken_files_named, raw_dataset
from model.preprocessing import MISSING_ROW, Preprocessing
from pipeline.config import Scenario
from pipeline.features import Categorical, Feature, Features, MultiCategorical, Numeric
from pipeline.prepared_data import Part, PreparedData

#: Sessions encoded at a time: every pair of their candidates and behaviours is in memory.
_BATCH_SIZE = 256
#: Values of a list that have a column of their own; the list as a whole has another.
_FIRST_VALUES = 3
#: Codes of whole lists: float32 holds them exactly.
_LIST_CODES = 2**20

_Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class CandidateTable:
    """Candidates of a part of prepared data: `M` rows of `S` sessions.

    Attributes:
        columns: float32 `[M, F]`; NaN where a number is missing.
        names: of the `F` columns. That of a feature `name` is `name`, of a number computed from it
            `name/<what>`.
        categorical: those of `names` that hold codes, 0 where missing, rather than numbers.
        labels: `[M]`, 0 or 1.
        sessions: int32 `[M]`, rising, which of the `S` sessions a row is of.
        session_ids: strings `[S]`.
        item_ids: strings `[M]`.
        behavior_counts: int32 `[S]`.
        lists: int32 rows of embedding tables, 0 beyond the last, by feature: of behaviours `[S, T]`, newest
            first; of multi-valued features of the query and the user `[S, L]`, of the candidate `[M, L]`.
        table_rows: rows of each embedding table, by its name.
    """

    columns: np.ndarray
    names: tuple[str, ...]
    categorical: tuple[str, ...]
    labels: np.ndarray
    sessions: np.ndarray
    session_ids: pa.StringArray
    item_ids: pa.StringArray
    behavior_counts: np.ndarray
    lists: dict[str, np.ndarray]
    table_rows: dict[str, int]

    def column(self, name: str) -> np.ndarray:
        """One column, float32 `[M]`."""
        return self.columns[:, self.names.index(name)]

    def sample(self, share: float, seed: int) -> CandidateTable:
        """The rows of a random share of the sessions, renumbered, in the same order."""
        rng = np.random.default_rng(seed)
        count = len(self.session_ids)
        chosen = np.zeros(count, bool)
        chosen[rng.permutation(count)[: max(1, round(share * count))]] = True
        kept = chosen[self.sessions]
        return replace(
            self,
            columns=self.columns[kept],
            labels=self.labels[kept],
            sessions=(np.cumsum(chosen, dtype=np.int32) - 1)[self.sessions[kept]],
            session_ids=self.session_ids.filter(pa.array(chosen)),
            item_ids=self.item_ids.filter(pa.array(kept)),
            behavior_counts=self.behavior_counts[chosen],
            lists={name: rows[kept if name.startswith("candidate_") else chosen] for name, rows in self.lists.items()},
        )


def candidate_table(data: PreparedData, scenario: Scenario, part: Part) -> CandidateTable:
    """The candidates of a part, with all that the neural models see of them, of their user and query.

    - candidates, query and user: numbers as `Preprocessing` gives them, categorical features as rows of
      their tables, multi-valued ones as `name` (a code of the whole list), `name/count` and `name/1` to
      `name/3` (their first values);
    - cross features, as `CrossFeatures` gives them, by their names, a match as `<name>/count`,
      `<name>/recency` and `<name>/place`;
    - `behavior_count`; of the behaviours `name/mean` of every number, `behavior_age_days/newest`, and
      `name/newest` of every categorical feature;
    - `<candidate feature>=<query feature>`, 1 where both are the same row of a table that they share.

    Raises:
        InputError: a file is broken, or they do not hold as many sessions as they must.
    """
    features, files = scenario.features, data.files(part)
    preprocessing = Preprocessing(features, data.assets(features))
    cross_features = CrossFeatures(features) if features.cross else None
    batches = raw_dataset(files, features, batch_size=_BATCH_SIZE, sessions=data.sessions(part))
    batches = batches.prefetch(tf.data.AUTOTUNE)

    @tf.function(input_signature=[batches.element_spec])
    def encode(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        encoded = preprocessing(raw)
        if cross_features is not None:
            mask = tf.sequence_mask(raw["behavior_count"], tf.shape(raw["behavior_item_id"])[1])
            encoded["cross"] = cross_features(encoded, mask)
        return encoded

    pieces = []
    with broken_files_named(files, features):
        for raw in batches:
            encoded = {name: tensor.numpy() for name, tensor in encode(raw).items()}
            pieces.append(_Piece.of(features, encoded, {name: raw[name].numpy() for name in _KEPT}))
    return _joined(pieces, features, preprocessing.table_rows)


_KEPT = ("candidate_label", "candidate_item_id", "session_id", "candidate_count", "behavior_count")


@dataclass(frozen=True)
class _Piece:
    """A batch's part of the table."""

    columns: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray
    counts: np.ndarray
    behavior_counts: np.ndarray
    session_ids: pa.StringArray
    item_ids: pa.StringArray
    lists: dict[str, np.ndarray]

    @classmethod
    def of(cls, features: Features, encoded: _Columns, raw: _Columns) -> _Piece:
        counts = raw["candidate_count"]
        real = np.arange(raw["candidate_label"].shape[1]) < counts[:, np.newaxis]
        of_session: _Columns = {"behavior_count": raw["behavior_count"]}
        lists: _Columns = {}
        for feature in (*features.query_features, *features.user_features):
            of_session.update(_feature_columns(feature, encoded, lists))
        of_session.update(_behavior_columns(features, encoded, lists))
        named: _Columns = {}
        for feature in features.candidate_features:
            candidate_lists: _Columns = {}
            named |= {n: v[real] for n, v in _feature_columns(feature, encoded, candidate_lists).items()}
            lists |= {n: v[real] for n, v in candidate_lists.items()}
        named.update({name: np.repeat(values, counts) for name, values in of_session.items()})
        for index, name in enumerate(_cross_names(features)):
            named[name] = encoded["cross"][..., index][real]
        for candidate, query in _comparable(features):
            same = (named[candidate] == named[query]) & (named[candidate] != MISSING_ROW)
            named[f"{candidate}={query}"] = same
        return cls(
            columns=np.stack([values.astype(np.float32) for values in named.values()], axis=1),
            names=tuple(named),
            labels=raw["candidate_label"][real].astype(np.int8),
            counts=counts,
            behavior_counts=raw["behavior_count"].astype(np.int32),
            session_ids=_strings(raw["session_id"]),
            item_ids=_strings(raw["candidate_item_id"][real]),
            lists=lists,
        )


def _feature_columns(feature: Feature, encoded: _Columns, lists: _Columns) -> _Columns:
    """Columns of a feature of the candidates `[B, N]`, the query or the user `[B]`; its rows go to `lists`."""
    name, values = feature.name, encoded[feature.name]
    if isinstance(feature.declaration, Numeric):
        return {name: _number(feature, encoded)}
    if isinstance(feature.declaration, Categorical):
        return {name: values}
    lists[name] = values
    columns = {name: _list_codes(values), f"{name}/count": np.count_nonzero(values != MISSING_ROW, axis=-1)}
    for index in range(min(_FIRST_VALUES, feature.declaration.max_values)):
        at_index = values[..., index] if index < values.shape[-1] else np.zeros(values.shape[:-1], values.dtype)
        columns[f"{name}/{index + 1}"] = at_index
    return columns


def _behavior_columns(features: Features, encoded: _Columns, lists: _Columns) -> _Columns:
    """Columns `[B]` that sum up the behaviours, which are `[B, T]`, newest first; their rows go to `lists`."""
    count = encoded["behavior_count"]
    columns: _Columns = {}
    for feature in features.behavior_features:
        name, declaration = feature.name, feature.declaration
        if isinstance(declaration, MultiCategorical):
            continue
        if isinstance(declaration, Categorical):
            rows = encoded[name]
            lists[name] = np.where(np.arange(rows.shape[1]) < count[:, np.newaxis], rows, MISSING_ROW)
            columns[f"{name}/newest"] = lists[name][:, 0]
            continue
        numbers = _number(feature, encoded)
        known = (np.arange(numbers.shape[1]) < count[:, np.newaxis]) & ~np.isnan(numbers)
        total, known_count = np.sum(numbers, axis=1, where=known), np.count_nonzero(known, axis=1)
        columns[f"{name}/mean"] = np.divide(total, known_count, where=known_count > 0, out=np.full(len(total), np.nan))
        if feature.field == "age_days":
            columns[f"{name}/newest"] = np.where(known[:, 0], numbers[:, 0], np.nan)
    return columns


def _number(feature: Feature, encoded: _Columns) -> np.ndarray:
    """The number, or its bucket, with NaN where it is missing."""
    values = encoded[feature.name].astype(np.float32)
    if feature.table is not None:
        return np.where(values == MISSING_ROW, np.nan, values)
    missing = encoded.get(f"{feature.name}/missing")
    return values if missing is None else np.where(missing == 1, np.nan, values)


def _list_codes(rows: np.ndarray) -> np.ndarray:
    """One code a list `[..., L]`, 0 where it is empty; padding with 0 does not change it."""
    codes = np.zeros(rows.shape[:-1], np.uint64)
    for position in range(rows.shape[-1]):
        row = rows[..., position].astype(np.uint64)
        codes = np.where(row == MISSING_ROW, codes, (codes * np.uint64(0x9E3779B97F4A7C15) + row) % 2**61)
    return np.where(codes == 0, 0, 1 + codes % (_LIST_CODES - 1)).astype(np.int32)


#: What a cross feature of kind `match` gives.
_MATCH = ("count", "recency", "place")


def _cross_names(features: Features) -> Iterator[str]:
    """Names of what `CrossFeatures` gives, in its order."""
    for name, cross in features.cross.items():
        yield from (f"{name}/{number}" for number in _MATCH) if cross.kind == "match" else (name,)


def _comparable(features: Features) -> list[tuple[str, str]]:
    """Categorical features of the candidate and of the query that share a table."""
    return [
        (candidate.name, query.name)
        for candidate in features.candidate_features
        for query in features.query_features
        if candidate.table == query.table
        and isinstance(candidate.declaration, Categorical)
        and isinstance(query.declaration, Categorical)
    ]


def _categorical_names(features: Features, names: tuple[str, ...]) -> tuple[str, ...]:
    codes = set()
    for feature in features.encoded:
        if isinstance(feature.declaration, Categorical):
            codes |= {feature.name, f"{feature.name}/newest"}
        elif isinstance(feature.declaration, MultiCategorical):
            codes |= {feature.name, *(f"{feature.name}/{index + 1}" for index in range(_FIRST_VALUES))}
    return tuple(name for name in names if name in codes)


def _joined(pieces: list[_Piece], features: Features, table_rows: dict[str, int]) -> CandidateTable:
    counts = np.concatenate([piece.counts for piece in pieces])
    names = pieces[0].names
    return CandidateTable(
        columns=np.concatenate([piece.columns for piece in pieces]),
        names=names,
        categorical=_categorical_names(features, names),
        labels=np.concatenate([piece.labels for piece in pieces]),
        sessions=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        session_ids=pa.concat_arrays([piece.session_ids for piece in pieces]),
        item_ids=pa.concat_arrays([piece.item_ids for piece in pieces]),
        behavior_counts=np.concatenate([piece.behavior_counts for piece in pieces]),
        lists={name: _stacked([piece.lists[name] for piece in pieces]) for name in pieces[0].lists},
        table_rows=dict(table_rows),
    )


def _stacked(parts: list[np.ndarray]) -> np.ndarray:
    """Padded lists of batches under each other: each is as wide as its own longest."""
    stacked = np.full((sum(len(part) for part in parts), max(part.shape[1] for part in parts)), MISSING_ROW, np.int32)
    start = 0
    for part in parts:
        stacked[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return stacked


def _strings(values: np.ndarray) -> pa.StringArray:
    return pa.array(values, pa.binary()).cast(pa.string())
