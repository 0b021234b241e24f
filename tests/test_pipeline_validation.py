"""New data against old: what is planted is found and named, by the function and by the command."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pytest
from prepared_statistics import FEATURES, random_records, scenario_of, write_prepared

import awmoe
from pipeline.config import Validation
from pipeline.errors import InputError
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.validation.finding import Finding
from pipeline.validation.report import ValidationReport
from pipeline.validation.validate import validate

SCENARIO = scenario_of()
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    parts = {"train": random_records(), "test": random_records(seed=1)}
    return write_prepared(tmp_path_factory.mktemp("old") / "data", SCENARIO, parts)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `awmoe validate`: exit code, standard output, standard error."""

    def command(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["awmoe", "validate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            awmoe.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


def renamed_brand() -> dict[str, Any]:
    item = {name: value for name, value in FEATURES["item"].items() if name != "brand"}
    return {**FEATURES, "item": {**item, "maker": FEATURES["item"]["brand"]}}


def above(report: ValidationReport) -> set[tuple[str, str, str]]:
    return {(finding.part, finding.feature, finding.measure) for finding in report.above}


def test_data_against_itself_has_no_finding_above_zero(old: PreparedData) -> None:
    shares = [name for name, field in Validation.model_fields.items() if isinstance(field.default, float)]
    strict = scenario_of(**dict.fromkeys(shares, 0.0))
    report = validate(old, old, strict.validation)
    assert report.findings
    assert {finding.value for finding in report.findings} == {0.0}
    assert not report.above
    assert {finding.part for finding in report.findings} == {"train", "test"}, "empty parts are skipped"


def test_other_data_of_the_same_kind_is_within_the_defaults(old: PreparedData, tmp_path: Path) -> None:
    scenario = scenario_of(text_drift=0.1)  # for 600 sessions
    new = write_prepared(tmp_path / "new", scenario, {p: random_records(900, seed=n) for n, p in enumerate(PARTS)})
    report = validate(new, old, scenario.validation)
    assert not report.above, report.above
    assert {f.part for f in report.notable} >= {"validation", "new_items"}, "parts that only one has are told"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"positives": 0.15}, {("candidate_label", "label_rate")}),
        (
            {"brands": ("b0", "b1", "b2")},
            {(f"{g}_brand", m) for g in ("behavior", "candidate") for m in ("drift", "vanished_values")},
        ),
        (
            {"brands": ("b0", "b1", "b2", "b3", "b9")},
            {(f"{g}_brand", m) for g in ("behavior", "candidate") for m in ("drift", "new_values")},
        ),
        ({"missing_prices": 0.4}, {("behavior_price", "missing_increase"), ("candidate_price", "missing_increase")}),
        ({"price": 60.0}, {("behavior_price", "drift"), ("candidate_price", "drift")}),
        ({"behaviors": 6}, {("behavior_count", "behavior_count"), ("behavior_count", "drift")}),
        ({"sessions": 40}, {("", "fewest_sessions")}),
    ],
    ids=["label rate", "dropped brand", "new brand", "missing price", "price", "longer behaviours", "few sessions"],
)
def test_what_changed_is_found_and_named(
    changes: dict[str, Any], expected: set[tuple[str, str]], old: PreparedData, tmp_path: Path, run: Run
) -> None:
    parts = {"train": random_records(), "test": random_records(**{"seed": 1, **changes})}
    new = write_prepared(tmp_path / "new", SCENARIO, parts)
    assert above(validate(new, old, SCENARIO.validation)) == {("test", *names) for names in expected}
    code, out, err = run(new.directory, "--against", old.directory)
    assert (code, err) == (1, "")
    for feature, measure in expected:
        assert any(measure in line and feature in line for line in out.splitlines()), out
    assert "above" in out
    assert "--set validation." in out
    assert run(new.directory, "--against", old.directory, "--part", "train")[0] == 0
    code, out, _ = run(new.directory, "--against", old.directory, "--json")
    found = json.loads(out)
    assert (code, found["ok"]) == (1, False)
    assert {(f["part"], f["feature"], f["measure"]) for f in found["findings"] if f["above"]} == {
        ("test", *names) for names in expected
    }


def test_measures_of_a_part_are_those_of_its_plain_values(old: PreparedData, tmp_path: Path) -> None:
    """The drifts have tests of their own."""
    changed = random_records(positives=0.2, missing_prices=0.3, behaviors=5, seed=4)
    plain = [random_records(), changed]
    report = validate(
        write_prepared(tmp_path / "new", SCENARIO, {"train": changed}), old, SCENARIO.validation, ["train"]
    )
    of = {(f.feature, f.measure): (f.old, f.new, f.value) for f in report.findings}

    def of_both(measured: Callable[[pa.RecordBatch], float]) -> Any:
        return [pytest.approx(measured(records), rel=1e-9) for records in plain]

    def rate(records: pa.RecordBatch) -> float:
        return float(np.mean(records.column("candidate_label").flatten().to_numpy(), dtype=np.float64))

    def length(records: pa.RecordBatch) -> float:
        return float(np.mean([len(items) for items in records.column("behavior_item_id").to_pylist()]))

    def missing(records: pa.RecordBatch) -> float:
        return float(np.isnan(records.column("candidate_price").flatten().to_numpy()).mean())

    for names, measured in (
        (("candidate_label", "label_rate"), rate),
        (("behavior_count", "behavior_count"), length),
        (("candidate_price", "missing_increase"), missing),
    ):
        assert list(of[names][:2]) == of_both(measured), names
    rates, lengths, shares = ([measured(records) for records in plain] for measured in (rate, length, missing))
    assert of["candidate_label", "label_rate"][2] == pytest.approx(1 - rates[1] / rates[0])
    assert of["behavior_count", "behavior_count"][2] == pytest.approx(1 - lengths[0] / lengths[1])
    assert of["candidate_price", "missing_increase"][2] == pytest.approx(shares[1] - shares[0])


def test_measures_are_symmetric_and_do_not_know_how_much_data_there_is(old: PreparedData, tmp_path: Path) -> None:
    records = random_records(brands=("b0", "b1", "b9"), price=30.0, positives=0.2, behaviors=5)
    thrice = pa.Table.from_batches([records] * 3).combine_chunks().to_batches()[0]
    new, more = (
        write_prepared(tmp_path / name, SCENARIO, {"train": batch})
        for name, batch in (("new", records), ("more", thrice))
    )

    def values(one: PreparedData, other: PreparedData) -> dict[tuple[str, str], float]:
        report = validate(one, other, SCENARIO.validation, ["train"])
        return {(f.feature, f.measure): f.value for f in report.findings}

    there, back = values(new, old), values(old, new)
    assert values(more, old) == pytest.approx(there, abs=1e-9)
    assert values(more, new) == pytest.approx(dict.fromkeys(there, 0.0), abs=1e-9)
    mirrored = {"new_values": "vanished_values", "vanished_values": "new_values"}
    for (feature, measure), value in there.items():
        if measure != "missing_increase":  # a decrease is none
            assert back[feature, mirrored.get(measure, measure)] == pytest.approx(value, abs=1e-9), (feature, measure)


def test_a_finding_tells_what_it_is_about(old: PreparedData, tmp_path: Path) -> None:
    records = random_records(brands=("b0", "b1", "b2", "[bold]"))
    report = validate(write_prepared(tmp_path / "new", SCENARIO, {"train": records}), old, SCENARIO.validation)
    of = {(f.feature, f.measure): f for f in report.findings if f.part == "train"}
    new = of["candidate_brand", "new_values"]
    brands = records.column("candidate_brand").flatten().to_pylist()
    share = brands.count("[bold]") / len(brands)
    assert new == Finding("train", "candidate_brand", "new_values", 0.0, share, share, 0.02, True, "`[bold]`")
    assert of["candidate_brand", "vanished_values"].detail == "`b3`"
    assert (of["behavior_count", "behavior_count"].old, of["behavior_count", "behavior_count"].value) == (
        pytest.approx(4, abs=0.3),
        0.0,
    )
    (gone,) = [finding for finding in report.findings if finding.part == "test"]
    assert (gone.old, gone.new, gone.above, gone.detail) == (600, 0, True, "too small to be compared")


def test_a_renamed_feature_and_one_of_another_type_are_told_by_the_schemas(
    old: PreparedData, tmp_path: Path, run: Run
) -> None:
    scenario = scenario_of(renamed_brand())
    records = {"train": random_records(brand_column="maker"), "test": random_records(brand_column="maker", seed=1)}
    new = write_prepared(tmp_path / "renamed", scenario, records)
    report = validate(new, old, scenario.validation)
    assert [(f.feature, f.old, f.new, f.detail) for f in report.above] == [
        ("behavior_brand", "texts", "", "gone"),
        ("candidate_brand", "texts", "", "gone"),
        ("behavior_maker", "", "texts", "added"),
        ("candidate_maker", "", "texts", "added"),
    ]
    code, out, _ = run(new.directory, "--against", old.directory)
    assert (code, "candidate_brand" in out, "--set validation.same_schema=false" in out) == (1, True, True)
    code, out, _ = run(new.directory, "--against", old.directory, "--set", "validation.same_schema=false")
    assert (code, "candidate_brand" in out) == (0, True), "told, not failed"

    numbers = scenario_of({**FEATURES, "query": {"terms": {"kind": "numeric"}}, "tables": {"item": {}, "brand": {}}})
    number = pa.array([[1.0]] * 600, pa.list_(pa.float32()))
    place = records["train"].schema.get_field_index("query_terms")
    parts = ((part, random_records(seed=seed)) for seed, part in enumerate(("train", "test")))
    records = {part: batch.set_column(place, "query_terms", number) for part, batch in parts}
    report = validate(write_prepared(tmp_path / "typed", numbers, records), old, numbers.validation)
    assert [(f.feature, f.old, f.new, f.detail) for f in report.above] == [
        ("query_terms", "text", "number", "another type")
    ]


def test_texts_against_hash_buckets_cannot_be_compared(old: PreparedData, tmp_path: Path) -> None:
    hashed = scenario_of({**FEATURES, "tables": {"item": {}, "brand": {"hash_buckets": 8}, "term": {}}})
    new = write_prepared(tmp_path / "new", hashed, {"train": random_records()})
    report = validate(new, old, hashed.validation, ["train"])
    assert [(f.feature, f.old, f.new, f.detail) for f in report.above] == [
        (f"{group}_brand", "texts", "hash buckets", "cannot be compared") for group in ("behavior", "candidate")
    ]
    assert not validate(new, new, hashed.validation).above


def test_thresholds_come_from_the_new_scenario_a_file_and_the_line(old: PreparedData, tmp_path: Path, run: Run) -> None:
    own = {f"{group}_brand": {"drift": 0.5, "new_values": 0.4} for group in ("behavior", "candidate")}
    scenario = scenario_of(features=own)
    brands = ("b0", "b1", "b2", "b3", "b9")
    records = {"train": random_records(brands=brands), "test": random_records(brands=brands, seed=1)}
    new = write_prepared(tmp_path / "new", scenario, records)
    code, out, _ = run(new.directory, "--against", old.directory)
    assert (code, "all within their thresholds" in out) == (0, True)
    loosened = ["--set", "validation.new_values=0.5", "--set", "validation.text_drift=0.5"]
    config = ["--config", old.directory / "scenario.yaml"]
    assert run(new.directory, "--against", old.directory, *config)[0] == 1
    assert run(new.directory, "--against", old.directory, *config, *loosened)[0] == 0
    strict = ["--set", "validation.features.candidate_brand.new_values=0.1"]
    code, out, _ = run(new.directory, "--against", old.directory, *strict, "--all")
    assert code == 1
    assert "query_terms" in out, "--all shows every measure"
    with pytest.raises(InputError, match=r"validation.features: `candidate_colour` is none of behavior_item_id, .*"):
        scenario_of(features={"candidate_colour": {"drift": 0.1}})


def test_data_that_cannot_be_compared_ends_with_code_2(old: PreparedData, tmp_path: Path, run: Run) -> None:
    code, out, err = run(tmp_path / "none", "--against", old.directory)
    assert (code, out) == (2, "")
    assert err.startswith(f"awmoe: {tmp_path / 'none'}: no such directory; run `awmoe preprocess")
    assert run(old.directory, "--against", tmp_path / "none")[0] == 2
    new = tmp_path / "new"
    for name in ("schema.pbtxt", "data_statistics.pb"):
        shutil.copytree(old.directory, new)
        (new / name).write_text("feature {", encoding="utf-8")
        assert f"{new / name}: is damaged" in run(new, "--against", old.directory)[2]
        (new / name).unlink()
        code, _, err = run(new, "--against", old.directory)
        assert code == 2
        assert f"{new / name}: not there; run `awmoe preprocess` again" in err
        shutil.rmtree(new)
    code, _, err = run(old.directory, "--against", old.directory, "--set", "validation.fewest_sessions=601")
    assert code == 2
    assert "too few sessions to compare (train 600 and 600, validation 0 and 0, test 600 and 600" in err
    assert "lower it with --set validation.fewest_sessions=NUMBER" in err
    assert run(old.directory, "--against", old.directory, "--set", "validation.text_drfit=1")[0] == 2


def test_the_command_knows_the_parts() -> None:
    (option,) = [option.type for option in awmoe.validate.params if option.name == "parts"]
    assert isinstance(option, click.Choice)
    assert tuple(option.choices) == PARTS
