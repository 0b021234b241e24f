"""How the shares of a text's values changed."""

from __future__ import annotations

from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import statistics_pb2


@dataclass(frozen=True)
class TextShares:
    """A text's values by their share of all that are there.

    `unnamed` bounds the share of a value that is not named: 0 if every value is.
    """

    named: dict[str, float]
    unnamed: float

    @classmethod
    def of(cls, statistics: statistics_pb2.StringStatistics) -> TextShares:
        """Reads the rank histogram that `data_statistics` writes."""
        buckets = statistics.rank_histogram.buckets
        total = sum(bucket.sample_count for bucket in buckets)
        named = {bucket.label: bucket.sample_count / total for bucket in buckets if bucket.label}
        return cls(named, min(named.values()) if len(named) < len(buckets) else 0.0)

    def largest_change(self, old: TextShares) -> tuple[float, str]:
        """The L-infinity distance of the shares, and the value whose share changed by that.

        A value that is not named counts with 0, as in TensorFlow Data Validation.
        """
        values = self.named.keys() | old.named.keys()
        return max(((abs(self.named.get(v, 0.0) - old.named.get(v, 0.0)), v) for v in values), default=(0.0, ""))

    def surely_not_in(self, other: TextShares) -> tuple[float, list[str]]:
        """The share of the values that the other does not have, and these values, the most frequent first.

        Where the other does not name all its values, one that it does not name may have a share of up
        to `unnamed` there, and only what a value has above that counts.
        """
        excess = {v: share - other.unnamed for v, share in self.named.items() if v not in other.named}
        outside = {v: share for v, share in excess.items() if share > 0}
        return sum(outside.values()), sorted(outside, key=lambda v: (-outside[v], v))
