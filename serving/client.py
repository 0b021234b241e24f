"""The client: ranks a session's candidates on any server of TensorFlow Serving's protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from pipeline.features import Features
from serving.errors import RankingError
from serving.protocol import GATE, OUTPUTS, SCORES, signature_inputs
from serving.request import Session, Values, gate_request, score_request

#: Bytes of one answer; gRPC's own limit is 4 MiB.
_MAX_RESPONSE = 64 * 2**20
#: gRPC itself retries, within the call's deadline, only what surely did not run.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_REMEDIES = {
    "UNAVAILABLE": "is the server running, and reachable from here?",
    "DEADLINE_EXCEEDED": "give a longer timeout or smaller pages",
    "NOT_FOUND": "check the model's name; the server lists its versions with GetModelStatus",
    "INVALID_ARGUMENT": "the served model was exported from another scenario than this client's features",
    "RESOURCE_EXHAUSTED": "send smaller pages",
}


class Ranked(NamedTuple):
    """One candidate of a ranked page: its position in the page as it was given, and its score."""

    position: int
    score: float


class SessionRanker:
    """Opens sessions on one model of one server; a context manager, safe to share between threads.

    The first session checks that the served model takes exactly the inputs of `features`.

    Args:
        target: `host:port` of the server.
        features: the scenario's feature declaration, the one the model was trained with.
        model: the served model's name.
        timeout: seconds for each call, retries included.

    Example:
        with SessionRanker("127.0.0.1:8500", scenario.features) as ranker:
            session = ranker.open_session(Session(behaviors, query, user))
            first = session.rank(candidates[:100])
    """

    def __init__(self, target: str, features: Features, *, model: str = "awmoe", timeout: float = 1.0) -> None:
        self.target = target
        self.features = features
        self.model = model
        self.timeout = timeout
        self._checked = False
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", _MAX_RESPONSE),
                ("grpc.service_config", json.dumps(_RETRIES)),
            ],
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def wait_until_ready(self, seconds: float) -> None:
        """Waits until the server can be reached, for instance while it loads its model.

        Raises:
            RankingError: it cannot within `seconds`.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            raise RankingError(
                "UNAVAILABLE", f"{self.target}: not reached within {seconds:g} s; {_REMEDIES['UNAVAILABLE']}"
            ) from None

    def open_session(self, session: Session) -> OpenSession:
        """Computes the session's gate, once for all its pages.

        Raises:
            RequestError: a value of the session is wrong; nothing was sent.
            RankingError: the server gave no usable answer.
        """
        if not self._checked:
            self._check_model()
            self._checked = True
        return OpenSession(self, session)

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Sends one request with the deadline.

        Raises:
            RankingError: the server gave no usable answer.
        """
        return self._call(self._stub.Predict, request)

    def close(self) -> None:
        """Closes the connection; open sessions end with it."""
        self._channel.close()

    def __enter__(self) -> SessionRanker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_model(self) -> None:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        response = self._call(self._stub.GetModelMetadata, request)
        served = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(served)
        for name, inputs in signature_inputs(self.features).items():
            signature = served.signature_def[name]
            wanted = {tensor: tf.as_dtype(spec.dtype).as_datatype_enum for tensor, spec in inputs.items()}
            found = {tensor: info.dtype for tensor, info in signature.inputs.items()}
            if wrong := sorted(t for t in wanted.keys() | found.keys() if wanted.get(t) != found.get(t)):
                raise RankingError(
                    "FAILED_PRECONDITION",
                    f"model `{self.model}` version {response.model_spec.version.value} at {self.target} does not take "
                    f"this client's features: signature {name}, {_difference(wrong[0], wanted, found)}; "
                    "use the scenario that the model was trained with",
                )
            if OUTPUTS[name] not in signature.outputs:
                raise RankingError("FAILED_PRECONDITION", f"signature {name} gives no `{OUTPUTS[name]}`; export again")

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            code = error.code().name
            remedy = f"; {_REMEDIES[code]}" if code in _REMEDIES else ""
            raise RankingError(code, f"model `{self.model}` at {self.target}: {error.details()}{remedy}") from error
        except ValueError as error:  # how gRPC refuses a call on a closed channel
            raise RankingError("CANCELLED", "this SessionRanker is closed; open another") from error


class OpenSession:
    """A session whose gate is computed; scores any number of pages with that gate and its version.

    Attributes:
        gate: the experts' weights for this session, [K].
        version: the model version that computed the gate and scores the pages.
    """

    def __init__(self, ranker: SessionRanker, session: Session) -> None:
        self._ranker = ranker
        self._session = session
        self._open()

    def score(self, candidates: Sequence[Values]) -> np.ndarray:
        """The candidates' scores in (0, 1), [N], in the order given; a higher one ranks first.

        A score is no purchase probability: it is calibrated to the training sample, which keeps
        few negatives (`pipeline.negatives_per_positive`, by default one a purchase), not to the traffic.

        When the version that computed the gate is gone (a roll-out passed it), the gate
        is computed again, once, with the version that serves now: experts of two
        versions do not match.

        Raises:
            RequestError: no candidates, or a value is wrong; nothing was sent.
            RankingError: the server gave no usable answer.
        """
        try:
            response = self._score(candidates)
        except RankingError as error:
            if error.code != "NOT_FOUND":
                raise
            self._open()
            response = self._score(candidates)
        # a server that pads batches answers as many scores as the longest list has
        return tf.make_ndarray(response.outputs[SCORES])[0, : len(candidates)]

    def rank(self, candidates: Sequence[Values]) -> list[Ranked]:
        """The candidates' positions and scores, best first; equal scores keep the order given."""
        scores = self.score(candidates)
        return [Ranked(int(index), float(scores[index])) for index in np.argsort(-scores, kind="stable")]

    def _open(self) -> None:
        ranker = self._ranker
        response = ranker.predict(gate_request(ranker.features, self._session, model=ranker.model))
        self.gate = tf.make_ndarray(response.outputs[GATE])[0]
        self.version = response.model_spec.version.value

    def _score(self, candidates: Sequence[Values]) -> predict_pb2.PredictResponse:
        ranker = self._ranker
        request = score_request(
            ranker.features, self._session, candidates, self.gate, model=ranker.model, version=self.version
        )
        return ranker.predict(request)


def _difference(tensor: str, wanted: dict[str, int], found: dict[str, int]) -> str:
    if tensor not in found:
        return f"the model has no input `{tensor}`"
    if tensor not in wanted:
        return f"the model needs `{tensor}` and the features do not declare it"
    return f"`{tensor}` is {tf.as_dtype(found[tensor]).name} in the model, {tf.as_dtype(wanted[tensor]).name} here"
