"""What can go wrong when ranking: a request that is wrong, and a server that does not answer it."""

from __future__ import annotations

from pipeline.errors import InputError


class RequestError(InputError):
    """The caller's session or candidates are wrong; nothing was sent. The message names the field."""


class RankingError(RuntimeError):
    """The server gave no usable answer.

    Attributes:
        code: the gRPC status by name, such as `DEADLINE_EXCEEDED`. `UNAVAILABLE` was already
            retried within the deadline; only that code is worth another try later.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
