"""`awmoe report`: the page, each figure against known inputs, and what a browser shows."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import page_check
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page
from sklearn.calibration import calibration_curve

from awmoe import cli
from experiments.comparison import Comparison, MetricSummary, ModelSummary, Pair, PartComparison, Summary
from experiments.report import write_report as module
from experiments.report.calibration import calibration
from experiments.report.case import difference, find_case
from experiments.report.expert_use import expert_use
from experiments.report.feature_importance import KINDS, Shuffled, feature_importance, shuffled_features
from experiments.report.figure import draw
from experiments.report.gate_map import explained, place_gates, why_no_map
from experiments.report.palette import PALETTE
from experiments.report.sample import read_sample
from experiments.report.scorer import Parts, Scorer
from experiments.report.tables import headline, part_tables
from experiments.report.training_curves import mean_and_deviation
from experiments.report.user_groups import behavior_groups, category_groups, slice_groups, target_groups
from experiments.report.write_report import write_report
from experiments.trial import Trial, read_trials, run_trial
from model.predict import predict
from model.run_directory import Run, load_run
from model.session_metrics import SESSION_METRICS
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from pipeline.scenario_file import dump_scenario, load_scenario
from sweep_example import sweep_of
from tiny_data import random_raw_sessions, tiny_scenario, write_tiny_data

NASTY = b'<b>item $x$</b> & "http://example.org/"'
SECTIONS = ("compare", "ablate", "gates", "training", "importance", "gate-map", "experts", "sweep", "scores", "case")
FIGURES = (
    "training-loss",
    "training-auc",
    "feature-importance",
    "gate-targets",
    "gate-behaviors",
    "expert-share",
    "expert-spread",
    "sweep",
    "calibration",
    "score-distribution",
    "case-gates",
    "case-difference",
)
needs_chromium = pytest.mark.skipif(
    page_check.chromium() is None, reason="no Chromium: `make chromium` says how to get one"
)


def comparison_of(kind: str, labels: list[str], p: float = 0.07) -> Comparison:
    models = {label: dict.fromkeys(SESSION_METRICS, MetricSummary(None)) for label in labels}
    for index, label in enumerate(labels):
        mean = 0.7 + 0.01 * index
        models[label] |= {"auc": MetricSummary(mean, 0.002, 30), "auc_at_10": MetricSummary(mean, None, 28)}
    pairs: dict[str, list[Pair]] = {metric: [] for metric in SESSION_METRICS}
    pairs["auc"] = [Pair(labels[-1], labels[0], 0.01, -0.001, 0.021, p, 1e-9)]
    pairs["auc_at_10"] = [Pair(labels[-1], labels[0], 0.01, None, None, None, 1e-9)]
    popularity = {metric: MetricSummary(0.6, None, 30) for metric in SESSION_METRICS}
    references = {"popularity": popularity, "displayed": popularity}
    margins = {
        metric: [Pair(labels[-1], b, 0.11, 0.1, 0.12, 1e-9, 1e-9) for b in references] for metric in ("auc", "mrr")
    }
    full = PartComparison(30, models, pairs, references, {labels[-1]: 0.625}, margins)
    few = PartComparison(0, models, {metric: [] for metric in SESSION_METRICS})
    sizes = dict.fromkeys(labels, ModelSummary(1234, 99, Summary(61.2, 3.0)))
    return Comparison(kind, tuple(labels), (1, 2), {"full": full, "few_behaviors": few}, sizes)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, trials of two models, and files of every command that the report reads."""
    directory = tmp_path_factory.mktemp("experiment")
    data = write_tiny_data(directory / "data", tiny_scenario(), sessions=96)
    labels = ["din", "aw_moe_cl"]
    for label in labels:
        scenario = tiny_scenario(model={"name": label}, training={"epochs": 1, "seed": 1})
        run_trial(Trial(label, scenario), data, directory / "compare")
    _add_seed(directory / "compare" / "trials" / "aw_moe_cl")
    peer = directory / "compare" / "trials" / "lightgbm" / "seed-1"  # of another library: scores alone
    shutil.copytree(directory / "compare" / "trials" / "din" / "seed-1", peer)
    shutil.rmtree(peer / "run")
    facts = json.loads((peer / "trial.json").read_text())
    (peer / "trial.json").write_text(json.dumps({**facts, "label": "lightgbm"}))
    comparison_of("compare", ["din", "lightgbm", "aw_moe_cl"]).write(directory / "compare")
    (directory / "ablate").mkdir()
    comparison_of("ablate", ["neither", "both"]).write(directory / "ablate")
    (directory / "gates").mkdir()
    comparison_of("gates", ["raw", "scaled"]).write(directory / "gates")
    (directory / "sweep").mkdir()
    sweep_of([0.8, 0.7]).write(directory / "sweep")
    return directory


@pytest.fixture(scope="module")
def report_page(experiment: Path) -> Path:
    """The page of a sample in which two users have one query, and an item an id that could break a page."""

    def with_one_query(*arguments: Any) -> dict[str, np.ndarray]:
        raw = read_sample(*arguments)
        raw["query_terms"][:] = b"term_1"
        raw["candidate_item_id"][raw["candidate_item_id"] == b"item_3"] = NASTY
        raw["candidate_item_id"][:, 0] = NASTY
        return raw

    output = experiment / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read_sample", with_one_query)
        given = {"ablation": "ablate", "gates": "gates", "sweep": "sweep"}
        inputs = [word for option, name in given.items() for word in (f"--{option}", experiment / name)]
        words = ["report", experiment / "compare", "--data", experiment / "data", *inputs, "--output", output]
        result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "not in this report: losses compared (awmoe losses, then --losses)" in result.output
    return output


@pytest.fixture(scope="module")
def trained(experiment: Path) -> Run:
    return next(trial for trial in read_trials(experiment / "compare") if trial.facts.label == "aw_moe_cl").run()


class References(HTMLParser):
    """Collects what a page would load, the ids it has, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data") and not str(value).startswith(("#", "data:,")):
                self.loads.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(str(value))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_with_every_section_and_loads_nothing(report_page: Path) -> None:
    text = report_page.read_text(encoding="utf-8")
    page = References()
    page.feed(text)
    assert not page.loads, f"the page loads {page.loads[:3]}"
    assert not page.tags & {"script", "iframe", "img", "object", "embed"}, page.tags
    assert not re.findall(r"@import|url\((?!#)", text)
    assert set(SECTIONS) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids), "a link would lead to the first of two places"
    assert {f"figure-{name}" for name in FIGURES} <= set(page.ids)
    repeated = {name for name in page.ids if page.ids.count(name) > 1}
    assert not repeated, f"two elements have the id {repeated}"
    for words in (
        "Not in this report",
        "losses compared",
        "it ties with din",
        "Test part: few behaviors",
        "0.7100",
        "MRR",
        "over displayed",
        "No point differs",
        "not corrected for there being 3 pairs",
    ):
        assert words in page.text, f"the page does not say `{words}`"


def test_what_data_hold_is_escaped(report_page: Path) -> None:
    text = report_page.read_text(encoding="utf-8")
    assert "&lt;b&gt;item $x$&lt;/b&gt;" in text, "the item is not in the rankings"
    assert "<b>item" not in text


def test_a_model_of_one_expert_gets_words_in_place_of_empty_figures(experiment: Path, tmp_path: Path) -> None:
    data = PreparedData.open(experiment / "data")
    report = write_report(experiment / "compare", data, tmp_path / "page.html", label="din", sessions=20, repeats=1)
    said = [d.name for drawings in report.drawings.values() for d in drawings if d.instead]
    assert said == ["gate-targets", "expert-share"]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "This model has one expert" in page
    assert 'id="sweep"' not in page
    assert "awmoe sweep, then --sweep" in page


def test_scores_without_a_level_are_not_calibrated(experiment: Path, tmp_path: Path) -> None:
    shutil.copytree(experiment / "compare", tmp_path / "compare")
    directory = tmp_path / "compare" / "trials" / "din" / "seed-1"
    scenario = load_scenario(directory / "run" / "scenario.yaml", ["training.loss=listwise"])
    (directory / "run" / "scenario.yaml").write_text(dump_scenario(scenario), encoding="utf-8")
    data = PreparedData.open(experiment / "data")
    pq.write_table(predict(load_run(directory / "run"), data.files("test")), directory / "scores.parquet")
    report = write_report(tmp_path / "compare", data, tmp_path / "page.html", label="din", sessions=20, repeats=1)
    reliability, distribution = report.drawings["scores"]
    assert "any level of scores is the same to it" in reliability.instead
    assert "score less the mean of its session" in distribution.svg
    assert [row.label for row in report.calibrations] == ["lightgbm", "aw_moe_cl"]


def test_a_missing_input_is_answered_with_the_command_that_makes_it(experiment: Path, tmp_path: Path) -> None:
    data = PreparedData.open(experiment / "data")
    page = tmp_path / "page.html"
    with pytest.raises(InputError, match="`awmoe compare --output"):
        write_report(tmp_path, data, page)
    comparison_of("compare", ["din", "dnn"]).write(tmp_path)
    with pytest.raises(InputError, match="has no finished trials; `awmoe compare"):
        write_report(tmp_path, data, page)
    with pytest.raises(InputError, match="is of `awmoe compare`; name the directory of `awmoe ablate`"):
        write_report(experiment / "compare", data, page, ablation=experiment / "compare")
    with pytest.raises(InputError, match=r"sweep.json: is not there; `awmoe sweep"):
        write_report(experiment / "compare", data, page, sweep=tmp_path)
    with pytest.raises(InputError, match="has no models of `dnn`; it has din, aw_moe_cl"):
        write_report(experiment / "compare", data, page, label="dnn")
    assert not page.exists()


def test_a_sample_is_bounded_and_the_same_for_a_seed(experiment: Path) -> None:
    data, scenario = PreparedData.open(experiment / "data"), tiny_scenario()
    one, again, other = (read_sample(data, scenario, 10, seed) for seed in (3, 3, 4))
    assert one["candidate_item_id"].shape[0] == 10
    assert list(one["session_id"]) == list(again["session_id"]) != list(other["session_id"])
    assert len(read_sample(data, scenario, 1000, 3)["session_id"]) == data.sessions("test")


def test_batches_of_alike_sessions_score_as_the_model_does(experiment: Path, trained: Run) -> None:
    raw = read_sample(PreparedData.open(experiment / "data"), trained.scenario, 48, 0)
    scorer = Scorer(trained)
    encoded = scorer.encode(raw)
    real = np.arange(raw["candidate_item_id"].shape[1]) < raw["candidate_count"][:, np.newaxis]
    expected = trained.model(encoded).numpy() * real
    parts = scorer.parts(encoded)
    np.testing.assert_allclose(scorer.logits(encoded), expected, atol=1e-5)
    np.testing.assert_allclose((parts.gates * parts.scores).sum(axis=-1), expected, atol=1e-5)


def test_permutation_finds_the_feature_that_ranks_and_none_in_an_unused_one() -> None:
    rng = np.random.default_rng(0)
    shape = (400, 6)
    even = rng.integers(0, 2, shape)
    encoded = {"candidate_even": even, "candidate_unused": rng.random(shape), "candidate_count": np.full(400, 6)}
    labels = (rng.random(shape) < np.where(even, 0.75, 0.15)).astype(np.float32)
    features = [Shuffled(name, KINDS[0], (f"candidate_{name}",), True) for name in ("even", "unused")]
    groups = {"first": np.arange(400) < 200, "second": np.arange(400) >= 200}
    found = feature_importance(
        lambda sessions: sessions["candidate_even"].astype(float),
        encoded,
        labels,
        features,
        groups,
        repeats=2,
        seed=1,
    )
    drops = {(i.feature.name, i.group): i for i in found}
    for group in groups:
        assert 0.2 < drops["even", group].drop < 0.4
        assert 0 < drops["even", group].error < 0.05
        assert drops["unused", group].drop == drops["unused", group].error == 0


def test_features_move_with_all_that_is_encoded_of_them(experiment: Path, trained: Run) -> None:
    raw = read_sample(PreparedData.open(experiment / "data"), trained.scenario, 8, 0)
    features = {f.name: f for f in shuffled_features(trained.scenario.features, Scorer(trained).encode(raw))}
    assert features["rating"].keys == ("candidate_rating", "candidate_rating/missing")
    assert features["brand"].keys == ("candidate_brand",)
    assert features["same brand"].keys == ("candidate_brand/fingerprint",)
    assert features["price ratio"].keys == ("candidate_price/log",)
    assert "behavior_count" in features["all behaviours"].keys
    assert features["user: activity"].kind == KINDS[2]


def test_calibration_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores = rng.beta(2, 3, 2000)
    labels = (rng.random(2000) < scores**2).astype(int)
    result = calibration(labels, scores)
    rates, means = calibration_curve(labels, scores, n_bins=10)
    np.testing.assert_allclose(result.rates, rates)
    np.testing.assert_allclose(result.scores, means)
    assert result.counts.sum() == 2000
    assert result.error == pytest.approx(np.abs(rates - means) @ result.counts / 2000)
    assert result.brier == pytest.approx(np.mean((labels - scores) ** 2))


def test_the_difference_of_two_users_adds_up() -> None:
    rng = np.random.default_rng(2)
    gates, scores = rng.normal(size=(2, 7, 4)), rng.normal(size=(2, 7, 4))
    parts = difference(gates, scores)
    logits = (gates * scores).sum(axis=-1)
    np.testing.assert_allclose((parts.by_gate + parts.by_score).sum(axis=-1), logits[0] - logits[1], atol=1e-12)
    same = difference(np.stack([gates[0]] * 2), scores)
    assert not same.by_gate.any(), "equal gates make no difference"
    centred = parts.from_mean()
    np.testing.assert_allclose((centred.by_gate + centred.by_score).mean(axis=0), 0, atol=1e-12)


def test_a_case_is_two_users_before_one_list(experiment: Path, trained: Run) -> None:
    raw = read_sample(PreparedData.open(experiment / "data"), trained.scenario, 48, 0)
    features = trained.scenario.features
    raw["query_terms"][:] = b"term_1"
    scorer = Scorer(trained)
    case = find_case(scorer, features, raw, seed=5)
    assert case is not None
    a, b = case.sessions
    n = int(raw["candidate_count"][a])
    assert raw["user_id"][a] != raw["user_id"][b]
    assert (case.raw["candidate_item_id"] == raw["candidate_item_id"][a]).all()
    assert (case.raw["behavior_item_id"][1] == raw["behavior_item_id"][b]).all()
    assert case.raw["user_age_group"][1] == raw["user_age_group"][b]
    np.testing.assert_allclose(case.logits[0], scorer.logits(scorer.encode(raw))[a, :n], atol=1e-5)
    assert sorted(case.ranks[0]) == list(range(1, n + 1))
    raw["query_terms"][:] = [f"term_{i}".encode() for i in range(len(raw["query_terms"]))]
    assert find_case(scorer, features, raw, seed=5) is None


def test_a_number_of_user_and_item_together_is_held_for_both() -> None:
    scenario = load_scenario("configs/search.yaml")
    raw = random_raw_sessions(scenario, 6, behaviors=3, candidates=5, seed=0)
    raw = {name: _bytes(values) for name, values in raw.items()} | {"user_id": np.array([b"%d" % i for i in range(6)])}
    for feature in scenario.features.query_features:
        raw[feature.name][:] = b"one"

    class Prices:
        """Ranks by price, and looks at what it is given."""

        def encode(self, sessions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return sessions

        def parts(self, sessions: dict[str, np.ndarray]) -> Parts:
            assert not sessions["candidate_bought_with"].any()
            return Parts(np.ones((len(sessions["user_id"]), 5, 1)), sessions["candidate_price"][..., np.newaxis])

    case = find_case(Prices(), scenario.features, raw, seed=0)  # type: ignore[arg-type]
    assert case is not None
    assert case.held == ("candidate_bought_with",)


def test_use_of_experts_is_of_absolute_weights_and_of_what_ranks() -> None:
    gates = np.tile([[[3.0, -1.0]]], (2, 2, 1))
    scores = np.array([[[1.0, 5.0], [3.0, 5.0]], [[1.0, 0.0], [1.0, 2.0]]])
    use = expert_use(
        Parts(gates, scores), np.array([2, 2]), {"one": np.array([True, False]), "none": np.zeros(2, bool)}
    )
    assert use.groups == ("one",)
    np.testing.assert_allclose(use.share, [[0.75, 0.25]])
    np.testing.assert_allclose(use.spread, [[3.0, 0.0]], err_msg="a constant part ranks nothing")
    np.testing.assert_allclose(use.negative, [0, 1])


def test_groups_of_users() -> None:
    tiny, search = tiny_scenario(), load_scenario("configs/search.yaml")
    raw = {
        "behavior_count": np.array([0, 1, 3]),
        "candidate_count": np.array([1, 1, 2]),
        "behavior_item_id": np.array([[b"", b"", b""], [b"a", b"", b""], [b"c", b"d", b"b"]], object),
        "behavior_category": np.array([[b"", b"", b""], [b"x", b"", b""], [b"y", b"z", b"z"]], object),
        "query_category": np.array([b"x", b"x", b"x"], object),
        "candidate_item_id": np.array([[b"a", b""], [b"a", b""], [b"e", b"b"]], object),
        "candidate_label": np.array([[1, 0], [1, 0], [1, 0]]),
        "user_age_group": np.array([b"age_group_1", b"", b""], object),
    }
    assert _lists(category_groups(search.features, raw)) == [[True, False, True], [False, True, False]]
    assert _lists(category_groups(tiny.features, raw)) == [[True, False, False], [False, True, True]]
    assert _lists(target_groups(raw)) == [[True, False, False], [False, False, True], [False, True, False]]
    assert _lists(behavior_groups(tiny, raw)) == [[True, False, False], [False, True, False], [False, False, True]]
    assert list(behavior_groups(tiny, raw)) == ["no behaviours", "1 to 2 behaviours", "more than 2"]
    assert _lists(slice_groups(tiny, raw)) == [[True, False, False]]


def test_constant_gates_and_single_experts_have_no_map() -> None:
    assert "one expert" in why_no_map(np.ones((10, 1)))
    assert "the same for every" in why_no_map(np.full((10, 3), 0.3))
    gates = np.repeat([[0.0, 1.0], [1.0, 0.0]], 5, axis=0)
    halves = {"a": np.arange(10) < 5, "b": np.arange(10) >= 5}
    assert why_no_map(gates) == ""
    assert explained(gates, halves) == pytest.approx(1)
    assert explained(gates, {"all": np.ones(10, bool)}) == pytest.approx(0)


@pytest.mark.slow
def test_many_gates_are_placed_by_umap_with_alike_ones_together() -> None:
    gates = np.random.default_rng(0).normal(size=(600, 4)) + np.repeat([[0], [20]], 300, axis=0)
    places, method = place_gates(gates, seed=1)
    assert method == "UMAP"
    centres = places[:300].mean(axis=0), places[300:].mean(axis=0)
    assert np.linalg.norm(centres[0] - centres[1]) > np.linalg.norm(places[:300] - centres[0], axis=1).mean()
    np.testing.assert_array_equal(places, place_gates(gates, seed=1)[0])


def test_curves_of_unequal_length_average_where_they_are() -> None:
    mean, deviation = mean_and_deviation([[1.0, 2.0], [3.0]])
    np.testing.assert_allclose(mean, [2, 2])
    np.testing.assert_allclose(deviation, [2**0.5, 0])


def test_tables_name_the_best_and_its_ties() -> None:
    comparison = comparison_of("compare", ["din", "aw_moe", "aw_moe_cl"])
    full, few = part_tables(comparison)
    rows = {row.label: row.cells for row in full.rows}
    best_and_ties = [(cells[0].best, cells[0].tie) for cells in rows.values()]
    assert best_and_ties == [(False, True), (False, False), (True, False), (False, False), (False, False)]
    assert [(row.label, row.covered) for row in full.rows if row.reference or row.covered] == [
        ("aw_moe_cl", "62.5%"),
        ("popularity", ""),
        ("displayed", ""),
    ]
    assert (rows["din"][0].mean, rows["din"][0].spread, rows["din"][1].spread) == ("0.7000", "±0.0020", "")
    assert rows["din"][2].mean == "\N{EN DASH}", "a value that is not known"
    (title, (pair,)), _ = full.pairs
    assert (title, pair.verdict, pair.p, pair.paired_p) == ("AUC", "tie", "0.070", "< 0.001")
    assert pair.interval == "\N{MINUS SIGN}0.0010 to +0.0210"
    assert few.pairs == ()
    assert few.margins is None
    assert full.margins is not None
    assert full.metrics == ("AUC", "AUC@10", "NDCG", "NDCG@10", "MRR")
    assert full.margins.metrics == ("AUC", "NDCG@10", "MRR")
    assert [reference for reference, _ in full.margins.references] == ["popularity", "displayed"]
    din, _, best = full.margins.references[1][1]
    assert (best.label, best.cells[2].mean, best.cells[2].spread) == ("aw_moe_cl", "+0.1100", "+0.1000 to +0.1200")
    assert din.cells[0].mean == "\N{EN DASH}"
    assert headline(comparison).endswith("it ties with din (p ≥ 0.05).")
    sure = comparison_of("compare", ["din", "aw_moe", "aw_moe_cl"], p=0.01)
    assert part_tables(sure)[0].pairs[0][1][0].verdict == "aw_moe_cl better"


def test_a_figure_takes_its_colours_from_the_page_and_leaves_texts_alone() -> None:
    text = f'{PALETTE[0].light} id="x" $a$ <b> href="#y"'

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], marker="o", color=PALETTE[4].light)
        axes.set_title(text)

    svg = draw("one", 200, paint)
    parsed = References()
    parsed.feed(svg)
    assert text in parsed.text
    assert not re.search(r"(fill|stroke): #", svg), "a colour that a dark page does not change"
    assert f"var({PALETTE[4].variable})" in svg
    assert all(name.startswith("one-") for name in parsed.ids)
    assert "http" not in svg
    assert svg == draw("one", 200, paint), "the same figure twice"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with page_check.browser() as started:
        yield started


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_has_ink_and_can_be_read(report_page: Path, browser: Browser, width: int, scheme: str) -> None:
    assert page_check.problems(browser, report_page, width=width, scheme=scheme) == []


@needs_chromium
@pytest.mark.parametrize("emptied", [FIGURES, ("calibration",)])
def test_emptied_figures_are_noticed(report_page: Path, browser: Browser, emptied: tuple[str, ...]) -> None:
    def empty(page: Page) -> None:
        page.evaluate(
            """names => names.forEach(name =>
                document.querySelectorAll(`#figure-${name} svg [id*="-axes_"] > g`).forEach(group => {
                    if (!/plot-area|matplotlib.axis|reference|text_/.test(group.id)) group.remove();
                }))""",
            list(emptied),
        )

    found = page_check.problems(browser, report_page, width=1280, scheme="light", doctor=empty)
    noticed = {line.partition(" ")[0] for line in found if "is empty" in line}
    assert noticed == {f"figure-{name}" for name in emptied}
    assert all("is empty" in line for line in found), found


@needs_chromium
@pytest.mark.parametrize(
    ("style", "noticed"),
    [
        (".plot svg text { fill: #111 !important; }", "has contrast"),
        ("table { width: 2000px; } .scroll { overflow: visible; }", "scrolls sideways"),
        ("body { background-image: url(http://127.0.0.1:9/x.png); }", "loads http"),
        (".plot svg { width: 60% !important; }", "px high"),
    ],
)
def test_a_page_that_cannot_be_read_is_noticed(report_page: Path, browser: Browser, style: str, noticed: str) -> None:
    def spoil(page: Page) -> None:
        page.add_style_tag(content=style)
        page.wait_for_timeout(100)

    found = page_check.problems(browser, report_page, width=390, scheme="dark", doctor=spoil)
    assert any(noticed in line for line in found), found


def _add_seed(trials: Path) -> None:
    """Another seed's trial, without training again: the same one with another history."""
    shutil.copytree(trials / "seed-1", trials / "seed-2")
    facts, history = trials / "seed-2" / "trial.json", trials / "seed-2" / "run" / "history.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"seed": 2}))
    curves = json.loads(history.read_text())
    history.write_text(json.dumps({name: [value + 0.02 for value in values] for name, values in curves.items()}))


def _lists(groups: dict[str, np.ndarray]) -> list[list[bool]]:
    return [mask.tolist() for mask in groups.values()]


def _bytes(values: np.ndarray) -> np.ndarray:
    return (
        np.array([str(v).encode() for v in values.ravel()], object).reshape(values.shape)
        if values.dtype == object
        else values
    )
