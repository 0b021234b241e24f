"""How large a batch of requests becomes when they are padded to the same sizes."""

from __future__ import annotations

from dataclasses import dataclass

from serving.validation import MAX_PLACES, places
from serving.waiting_request import WaitingRequest

#: Most padded places of a batch over those that its requests have themselves.
_MOST_PADDING = 2.0


@dataclass(frozen=True)
class BatchShape:
    """Sessions B, the longest T and N, and the sum of the requests' own places."""

    sessions: int = 0
    behaviors: int = 0
    candidates: int = 0
    own_places: int = 0

    def with_request(self, request: WaitingRequest) -> BatchShape:
        """The batch with one request more."""
        return BatchShape(
            self.sessions + request.sessions,
            max(self.behaviors, request.behaviors),
            max(self.candidates, request.candidates),
            self.own_places + request.places,
        )

    def is_allowed(self, max_sessions: int) -> bool:
        """Whether it is worth running as one: few enough sessions, and not mostly padding."""
        padded = places(self.sessions, self.behaviors, self.candidates)
        return self.sessions <= max_sessions and padded <= min(_MOST_PADDING * self.own_places, MAX_PLACES)
