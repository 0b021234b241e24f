"""The request builder: what it sends is what it was given, and what is wrong never leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from serving.errors import RequestError
from serving.protocol import signature_inputs
from serving.request import Session, gate_request, score_request, split_candidates
from serving.wire_pb2 import PredictRequest
from tiny_data import tiny_scenario

FEATURES = tiny_scenario().features
BEHAVIOR = {"item_id": "item_1", "brand": "brand_2", "price": 3.5, "action": "click", "age_days": 0.25}
CANDIDATE = {"item_id": "item_3", "brand": "brand_1", "price": 10, "rating": 4.5, "item_purchases": 7, "item_age": 30.0}
SESSION = Session([BEHAVIOR, {**BEHAVIOR, "item_id": "item_2"}], {"terms": "red shoe"}, {"activity": 12})
GATE = np.array([0.1, -0.2, 0.3], np.float32)


def arrays(request: PredictRequest) -> dict[str, np.ndarray]:
    theirs = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    return {name: tf.make_ndarray(tensor) for name, tensor in theirs.inputs.items()}


def test_the_requests_have_exactly_the_declared_inputs() -> None:
    declared = signature_inputs(FEATURES)
    gate = gate_request(FEATURES, SESSION)
    score = score_request(FEATURES, SESSION, [CANDIDATE] * 4, GATE, model="other", version=9)

    for request, signature in ((gate, "session_gate"), (score, "score_items")):
        assert request.model_spec.signature_name == signature
        assert set(request.inputs) == set(declared[signature])
        for name, (dtype, axis) in declared[signature].items():
            sizes = {"": [1], "T": [1, 2], "N": [1, 4], "K": [1, 3]}
            assert request.inputs[name].dtype == tf.as_dtype(dtype).as_datatype_enum, name
            assert [dim.size for dim in request.inputs[name].tensor_shape.dim] == sizes[axis], name
    assert (gate.model_spec.name, gate.model_spec.HasField("version")) == ("awmoe", False)
    assert (score.model_spec.name, score.model_spec.version.value) == ("other", 9)


def test_values_and_counts_arrive_and_missing_ones_are_marked() -> None:
    request = arrays(score_request(FEATURES, SESSION, [CANDIDATE, {**CANDIDATE, "rating": None}], GATE))

    assert request["behavior_item_id"].tolist() == [[b"item_1", b"item_2"]]
    assert request["behavior_age_days"].tolist() == [[0.25, 0.25]]
    assert request["behavior_tags"].tolist() == [[b"", b""]]  # a categorical value that is not there
    np.testing.assert_array_equal(request["candidate_rating"], [[4.5, np.nan]])
    assert request["candidate_price"].tolist() == [[10, 10]]
    assert request["query_terms"].tolist() == [b"red shoe"]
    assert request["user_activity"].tolist() == [12]
    assert request["behavior_count"].tolist() == [2]
    assert request["candidate_count"].tolist() == [2]
    np.testing.assert_array_equal(request["gate"], [GATE])


def test_a_user_without_behaviors_sends_one_hidden_row() -> None:
    request = arrays(gate_request(FEATURES, Session([], {"terms": "shoe"})))

    assert request["behavior_count"].tolist() == [0]
    behaviors = {name: value.shape for name, value in request.items() if name.startswith("behavior_")}
    del behaviors["behavior_count"]
    assert set(behaviors.values()) == {(1, 1)}
    assert np.isfinite(request["behavior_price"]).all()


@given(
    prices=st.lists(st.floats(0, 2**100, width=32), min_size=1, max_size=20),
    brand=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
@settings(max_examples=50, deadline=None)
def test_tensors_equal_those_of_tensorflow(prices: list[float], brand: str) -> None:
    page = [{**CANDIDATE, "price": price, "brand": brand} for price in prices]
    request = score_request(FEATURES, SESSION, page, GATE)

    expected = {
        "candidate_price": np.array([prices], np.float32),
        "candidate_brand": np.array([[brand.encode()] * len(prices)], object),
        "candidate_count": np.array([len(prices)]),
    }
    found = arrays(request)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"colour": "red"}, r"candidate 1: unknown field `colour`; declared are .*brand"),
        ({"price": None}, r"candidate 1: field `price` is missing and not optional"),
        ({"price": float("nan")}, r"candidate 1: field `price` is missing and not optional"),
        ({"price": -1.0}, r"candidate 1: field `price` must be finite and not negative, not -1.0"),
        ({"price": float("inf")}, r"candidate 1: field `price` must be finite and not negative, not inf"),
        ({"price": 1e39}, r"candidate 1: field `price` must be finite and not negative, not 1e\+39"),
        ({"rating": float("-inf")}, r"candidate 1: field `rating` must be finite, not -inf"),
        ({"price": "3"}, r"candidate 1: field `price` must be a number, not '3'"),
        ({"price": True}, r"candidate 1: field `price` must be a number, not True"),
        ({"price": 10**400}, r"candidate 1: field `price` must be finite, not an integer that no float holds"),
        ({"item_id": 3}, r"candidate 1: field `item_id` must be a string, not 3"),
        ({"brand": "\ud800"}, r"candidate 1: field `brand` must be Unicode text, not '\\ud800'"),
    ],
)
def test_a_wrong_candidate_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        score_request(FEATURES, SESSION, [CANDIDATE, {**CANDIDATE, **changed}], GATE)


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (Session([{**BEHAVIOR, "age_days": None}]), r"behavior 0: field `age_days` is missing"),
        (Session([BEHAVIOR], {"words": "x"}), r"query: unknown field `words`; declared are terms"),
        (Session([BEHAVIOR], {"terms": ["x"]}), r"query: field `terms` must be a string, not \['x'\]"),
        (Session([BEHAVIOR]), r"user: field `activity` is missing and not optional"),
    ],
)
def test_a_wrong_session_is_named(session: Session, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        score_request(FEATURES, session, [CANDIDATE], GATE)


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=30)
def test_a_list_in_pages_is_the_list(sizes: list[int]) -> None:
    page = [{**CANDIDATE, "price": float(i), "item_id": f"i{i}", "rating": None} for i in range(sum(sizes))]
    whole = score_request(FEATURES, SESSION, page, GATE, version=3)
    pages = split_candidates(whole, sizes)
    starts = np.cumsum([0, *sizes])
    for start, end, found in zip(starts, starts[1:], pages, strict=False):
        expected = score_request(FEATURES, SESSION, page[start:end], GATE, version=3)
        assert found.model_spec == expected.model_spec
        assert arrays(found).keys() == arrays(expected).keys()
        for name, values in arrays(expected).items():
            np.testing.assert_array_equal(arrays(found)[name], values, err_msg=name)


def test_a_page_without_candidates_is_refused() -> None:
    with pytest.raises(RequestError, match="no candidates"):
        score_request(FEATURES, SESSION, [], GATE)
