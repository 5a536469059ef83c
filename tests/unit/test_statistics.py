import dataclasses
import pickle

import pytest

from wsrpc.statistics import Stats, quantiles

STATS = Stats(
    sent=5,
    received=9,
    in_flight=1,
    matched=3,
    unmatched=2,
    late=1,
    reconnects=0,
    bytes_sent=100,
    bytes_received=250,
    latency={},
)


@pytest.mark.parametrize(
    ("values", "p50", "p90", "p99", "largest"),
    [
        ([7], 7, 7, 7, 7),
        ([2, 1], 1, 2, 2, 2),
        ([3, 1, 2], 2, 3, 3, 3),
        ([4, 3, 2, 1], 2, 4, 4, 4),
        ([6, 5, 4, 3, 2, 1], 3, 6, 6, 6),
        (list(range(1, 11)), 5, 9, 10, 10),
        (list(range(1, 101)), 50, 90, 99, 100),
        (list(range(1, 1001)), 500, 900, 990, 1000),
    ],
)
def test_quantiles_are_values_by_the_nearest_rank(
    values: list[float], p50: float, p90: float, p99: float, largest: float
) -> None:
    assert quantiles(values) == {"p50": p50, "p90": p90, "p99": p99, "max": largest}


def test_there_are_no_quantiles_of_nothing() -> None:
    assert quantiles([]) == {}


def test_quantiles_leave_their_input_as_it_was() -> None:
    values = [3.0, 1.0, 2.0]
    quantiles(values)
    assert values == [3.0, 1.0, 2.0]


def test_bytes_are_both_directions_together() -> None:
    assert STATS.bytes == 350


def test_stats_are_a_picture_of_one_moment() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        STATS.sent = 6  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(STATS)) == STATS
