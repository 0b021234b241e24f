"""The scenario file: what is right loads, what is wrong says where and what is allowed."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from pipeline.config import ModelName, Scenario
from pipeline.errors import InputError
from pipeline.scenario_file import dump_scenario, load_scenario, parse_scenario

ROOT = Path(__file__).parent.parent
SEARCH = ROOT / "configs" / "search.yaml"
shipped = pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)


@shipped
@pytest.mark.parametrize("name", get_args(ModelName))
def test_every_shipped_scenario_has_what_each_model_needs(path: Path, name: str) -> None:
    assert load_scenario(path, [f"model.name={name}"]).model.name == name


@shipped
def test_every_shipped_scenario_loads_and_survives_a_round_trip(path: Path) -> None:
    scenario = load_scenario(path)
    assert parse_scenario(yaml.safe_load(dump_scenario(scenario)), "dump") == scenario


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.gaet.form=raw",
            r"override `model.gaet.form=raw`: unknown key `model.gaet`; did you mean `gate`\? allowed there: .*gate",
        ),
        ("training.epoch=3", r"unknown key `training.epoch`; did you mean `epochs`\? allowed there: .*epochs"),
        (
            "features.item.brand.tabel=x",
            r"unknown key `features.item.brand.tabel`; did you mean `table`\? allowed there: .*table",
        ),
        ("features.tables.brand.min=1", r"unknown key `features.tables.brand.min`; allowed there: .*min_count"),
        ("features.item.brand.kind=text", r"`features.item.brand`: .*'categorical', 'multi_categorical', 'numeric'"),
        ("model.experts.count=four", r"`model.experts.count`: .*valid integer.*got 'four'"),
        ("model.experts.count=0", r"`model.experts.count`: .*greater than or equal to 1 \(got 0\)"),
        ("model.gate.context=user", r"`model.gate.context`: .*'query' or 'target_item' \(got 'user'\)"),
        ("pipeline.split.train=0.95", r"`pipeline.split`: train \+ validation is 1.05; leave some for the test"),
        ("features.cross.same_brand.field=colour", r"cross.same_brand.field: `colour` is none of item_id, brand"),
        ("features.as_of.bought_with.entity=brand", r"measure: bought_with needs entity: item_id"),
        ("features.as_of.activity.entity=colour", r"`colour` is none of user, item_id, brand"),
        ("features.item.brand.table=colour", r"tables: `colour` is used by a feature and not declared"),
        ("features.tables.colour={}", r"tables: `colour` is used by no feature"),
        ("features.behavior.weight={kind: numeric}", r"behavior.weight: allowed are action, age_days"),
        ("evaluation.popularity=price", r"evaluation.popularity: `price` is none of .*item_purchases"),
        ("evaluation.slices=[{name: x}]", r"needs either `max_behaviors`, or `feature` with `values`"),
        ("evaluation.slices=[{name: x, size: 1}]", r"unknown key `evaluation.slices.0.size`; allowed there: .*values"),
        ("name=", r"`name`: .*valid string"),
        ("training.epochs='3'", r"`training.epochs`: .*valid integer \(got '3'\)"),
        ("training.epochs=true", r"`training.epochs`: .*valid integer \(got True\)"),
        ("features.item.price.log='yes'", r"`features.item.price.log`: .*valid boolean"),
        ("training.dense_learning_rate=.inf", r"`training.dense_learning_rate`: .*finite"),
        ("pipeline.negatives_per_positive=.inf", r"`pipeline.negatives_per_positive`: .*finite"),
        ("model.hidden_layers=[0]", r"`model.hidden_layers.0`: .*greater than or equal to 1"),
        ("model.experts.layers=[]", r"`model.experts.layers`: .*at least 1 item"),
        ("features.tables.item.hash_buckets=9", r"`min_count` is of a vocabulary and `hash_buckets` replaces it"),
        ("features.item.price={kind: numeric, buckets: 8, standardize: false}", r"exclude each other"),
        ("evaluation.slices=[{name: full, max_behaviors: 1}]", r"`full` is always reported"),
        (
            "evaluation.slices=[{name: a, max_behaviors: 1}, {name: a, max_behaviors: 2}]",
            r"evaluation.slices: two are named `a`",
        ),
        ("features.item.count={kind: numeric}", r"`count`: a behavior has a `behavior_count` of its own"),
        ("features.user.id={kind: numeric}", r"`id`: a user has a `user_id` of its own"),
        ("features.item.action={kind: categorical, table: action}", r"`action`: a behavior has a `behavior_action`"),
        ("features.as_of.label={entity: item_id, measure: count}", r"`label`: a candidate has a `candidate_label`"),
        ("features.query.x={kind: numeric, column: time}", r"query.x: column `time` is the session's own"),
        (
            "features.query.x={kind: numeric, column: candidates.price}",
            r"query.x: column `candidates.price` is the sess",
        ),
        (
            "training={loss: listwise, positive_weight: 2}",
            r"positive_weight: is of the pointwise loss; listwise com",
        ),
        ("training.propensity={feature: price}", r"training.propensity.feature: `price` is none of .*`impression`: .*"),
        ("training.propensity={feature: x, power: 0}", r"`training.propensity.power`: .* greater than 0 .*got 0"),
        ("training.propensity={power: 1}", r"missing key `training.propensity.feature`"),
        ("training.propensity={feature: x, pow: 1}", r"unknown key .*propensity.pow`; did you mean `power`\? allowed"),
        ("training.propensity.pow=1", r"missing key `training.propensity.feature`"),
        ("training.table_weight_decay=0.1", r"`training`: table_weight_decay: is of table_optimizer lazy_adamw"),
        ("training.early_stopping=0", r"`training.early_stopping`: .* greater than or equal to 1 .*got 0"),
        ("features.impression.price={kind: numeric}", r"impression.price: that name is an item's; .* `column: price`"),
        (
            "features.impression.activity={kind: numeric}",
            r"as_of.activity: that name is taken by an item's, an impression's or a user's",
        ),
        ("features.impression.label={kind: numeric}", r"`label`: a candidate has a `candidate_label` of its own"),
        ("features.impression.x={kind: numeric, column: clicked}", r"impression.x: column `clicked` says which item"),
        ("features.impression.x={kind: numeric, column: item_id}", r"impression.x: column `item_id` is text, and here"),
        ("features.impression.x={kind: categorical, table: xs}", r"tables: `xs` is used by a feature and not declared"),
        ("features.impression.x={kind: numeric, bucket: 3}", r"unknown key `features.impression.x.bucket`; .*buckets"),
        (
            "features.impression={a: {kind: numeric, column: c}, b: {kind: categorical, table: brand, column: c}}",
            r"impression.b: column `c` is text, and here a number",
        ),
        ("evaluation.displayed=price", r"evaluation.displayed: `price` is none of .* `impression`: \(none\)"),
        ("features.item.x={kind: numeric, column: brand}", r"item.x: column `brand` is text, and here a number"),
        ("features.item.a/b={kind: numeric}", r"`features.item.a/b.*match pattern"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_scenario(SEARCH, [override])
    named = str(caught.value).startswith(
        (f"{SEARCH} with override `{override}`: ", f"override `{override}`: ", f"{SEARCH}: missing")
    )
    assert named, f"the error names neither the file nor the override: {caught.value}"


def test_a_gate_on_the_query_needs_a_query() -> None:
    raw = yaml.safe_load(SEARCH.read_text(encoding="utf-8"))
    del raw["features"]["query"], raw["features"]["tables"]["term"]
    with pytest.raises(InputError, match=r"model.gate.context: query needs .* or use context: target_item"):
        parse_scenario(raw, "search without a query")


def test_a_missing_file_and_a_file_that_is_no_yaml_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such scenario file"):
        load_scenario(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        load_scenario(broken)
    broken.write_text("- a\n", encoding="utf-8")
    with pytest.raises(InputError, match="must be a mapping"):
        load_scenario(broken)


@pytest.mark.parametrize(("text", "number"), [("1e-4", 1e-4), ("1.5e3", 1500.0), (".5E-2", 5e-3), ("2.e+1", 20.0)])
def test_an_exponent_makes_a_number(text: str, number: float, tmp_path: Path) -> None:
    path = Path("configs/search.yaml")
    assert load_scenario(path, [f"training.dense_learning_rate={text}"]).training.dense_learning_rate == number
    of_file = tmp_path / "scenario.yaml"
    of_file.write_text(path.read_text() + "validation: {new_values: 1e-2}\n")
    assert load_scenario(of_file).validation.new_values == 0.01
    scenario = load_scenario(path, ["evaluation.slices=[{name: '1e5', feature: user_age_group, values: ['1e-4']}]"])
    of_file.write_text(dump_scenario(scenario))
    assert load_scenario(of_file) == scenario, "text that looks like one stays text"


@pytest.mark.parametrize("override", ["training", "=3", "training.epochs=[1", "name.first=x"])
def test_an_override_that_is_no_assignment_is_an_input_error(override: str) -> None:
    with pytest.raises(InputError, match="override"):
        load_scenario(SEARCH, [override])


def test_behaviours_and_candidates_share_tables_and_statistics_by_declaration() -> None:
    features = load_scenario(SEARCH).features
    behavior = {f.field: f for f in features.behavior_features}
    candidate = {f.field: f for f in features.candidate_features}
    for field in features.item:
        assert behavior[field].table == candidate[field].table
        assert behavior[field].statistic == candidate[field].statistic


def test_an_impression_is_a_candidates_and_not_its_items() -> None:
    features = load_scenario(SEARCH, ["features.impression.position={kind: numeric}"]).features
    (position,) = features.impression_features
    assert (position.name, position.spec.axis, position.statistic) == ("candidate_position", "N", "impression_position")
    fields = [feature.field for feature in features.candidate_features]
    assert fields[: len(features.item) + 1] == [*features.item, "position"]
    assert "position" not in {feature.field for feature in features.behavior_features}
    assert position.spec in features.score_inputs
    assert position.spec not in features.gate_inputs


def test_the_gate_sees_behaviours_and_query_and_nothing_else() -> None:
    names = [spec.name for spec in load_scenario(SEARCH).features.gate_inputs]
    assert all(name.startswith(("behavior_", "query_")) for name in names), names


def test_defaults_are_the_papers_and_the_specs() -> None:
    model = Scenario.model_fields["model"].default
    assert (model.embedding_dimension, model.experts.count, model.experts.layers) == (16, 4, (512, 256))
    assert (model.contrastive.weight, model.contrastive.mask_probability, model.contrastive.negatives) == (0.05, 0.1, 3)
