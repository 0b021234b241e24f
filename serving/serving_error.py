"""What the embedded server answers instead of a prediction."""

from __future__ import annotations

import grpc

#: Characters of a message: it goes out in a header, whose size is limited, and a client may have put a long name
#: into it. What is not ASCII takes up to twelve bytes there.
_LONGEST, _LONGEST_UNICODE = 1000, 300


class ServingError(Exception):
    """A request that gets no prediction; gRPC and REST answer the same.

    Attributes:
        code: the gRPC status; REST answers the HTTP code that goes with it.
        message: what is wrong and what to do about it.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        longest = _LONGEST if message.isascii() else _LONGEST_UNICODE
        self.message = message if len(message) <= longest else f"{message[:longest]}..."
