"""What a client can tell of its work, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

_PERCENT = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


@dataclass(frozen=True)
class Stats:
    """A client's numbers at one moment, counted over its life.

    Attributes:
        sent: queries written.
        received: messages that came.
        in_flight: queries written and unanswered, now.
        matched: answers that settled a query.
        unmatched: messages that answered no query and fitted no topic.
        late: answers that came after their query was settled, and second ones.
        reconnects: connections after the first.
        bytes_sent: on the wire.
        bytes_received: on the wire.
        latency: of the last 1,024 answers, from writing to reading, in seconds: the median `p50`, `p90`, `p99` and
            `max`; empty without answers.
    """

    sent: int
    received: int
    in_flight: int
    matched: int
    unmatched: int
    late: int
    reconnects: int
    bytes_sent: int
    bytes_received: int
    latency: dict[str, float]

    @property
    def bytes(self) -> int:
        """Sent and received together."""
        return self.bytes_sent + self.bytes_received


def quantiles(values: list[float]) -> dict[str, float]:
    """`p50`, `p90`, `p99` and `max` of some values, by the nearest rank; empty for none."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {name: -(-len(ordered) * percent // 100) for name, percent in _PERCENT.items()}
    return {name: ordered[rank - 1] for name, rank in ranks.items()}
