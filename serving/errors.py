"""What can go wrong when ranking: a request that is wrong, and a server that does not answer it."""

from __future__ import annotations

from pipeline.errors import InputError

#: What to do about a status, where its details do not say.
_REMEDIES = {
    "UNAVAILABLE": "is the server running there (this is its gRPC port, not REST's), reachable from here, and with the "
    "same TLS as the client?",
    "DEADLINE_EXCEEDED": "give a longer timeout or fewer candidates",
    "NOT_FOUND": "check the model's name and label, and that all servers have the same versions (GetModelStatus)",
    "INVALID_ARGUMENT": "the served model was exported from another scenario than this client's features",
    "RESOURCE_EXHAUSTED": "the servers have more to do than they can: add one, or send less",
    "UNAUTHENTICATED": "check the TLS files on both sides",
}


class RequestError(InputError):
    """The caller's session or candidates are wrong; nothing was sent. The message names the field."""


class RankingError(RuntimeError):
    """The servers gave no usable answer; the message says what to do.

    Attributes:
        code: the gRPC status by name, such as `DEADLINE_EXCEEDED`. `UNAVAILABLE` and `RESOURCE_EXHAUSTED`
            were already tried again within the deadline; only these are worth another try later.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code

    @classmethod
    def of_status(cls, code: str, model: str, target: str, details: str | None) -> RankingError:
        """Of a call that a server, or the way to it, answered with a status."""
        remedy = f"; {_REMEDIES[code]}" if code in _REMEDIES else ""
        return cls(code, f"model `{model}` at {target}: {details}{remedy}")
