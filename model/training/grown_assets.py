"""Vocabularies that grow: a run's, with what newer data adds."""

from __future__ import annotations

from pathlib import Path

from pipeline.encoding_assets import STATISTICS, VOCABULARIES, EncodingAssets, dump_statistics


def write_grown_assets(old: EncodingAssets, new: EncodingAssets, directory: Path) -> dict[str, list[str]]:
    """Writes the old vocabularies with the values that are in new ones alone at their ends, and the old statistics.

    A vocabulary's rows are a table's last, so every old value keeps its row, whether new data has it or not.
    Statistics stay because the weights were trained on numbers that these had normalised.

    Args:
        old: of a trained model.
        new: of the same features.
        directory: gets `vocabularies/` and `statistics.json`.

    Returns:
        What was added, by table.
    """
    added = {}
    (directory / VOCABULARIES).mkdir(parents=True, exist_ok=True)
    for table, path in old.vocabularies.items():
        known = old.vocabulary(table)
        added[table] = _without(new.vocabulary(table), known)
        text = "".join(f"{value}\n" for value in (*known, *added[table]))
        (directory / VOCABULARIES / path.name).write_text(text, encoding="utf-8")
    (directory / STATISTICS).write_text(dump_statistics(old.numeric), encoding="utf-8")
    return added


def _without(values: list[str], known: list[str]) -> list[str]:
    seen = set(known)
    return [value for value in values if value not in seen]
