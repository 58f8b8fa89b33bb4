"""Formats the rounds of all servers as one Markdown table: medians over the rounds, sums of errors."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from bench.peers.catalogue import Peer
from bench.peers.measuring import CLIENTS, OVERLOAD, REFUSED, RESET, Measured, Point

COLUMNS = (
    "server",
    "picture as",
    "first 200",
    "1 client",
    "its p50 / p99 ms",
    f"{CLIENTS} clients",
    "their p50 / p99 ms",
    f"{OVERLOAD}x: offered",
    "goodput",
    "accepted p50 / p99 ms",
    "refused p50 / p99 ms",
    "resets",
    "other errors",
    "memory",
)
NONE = "-"
Rounds = Sequence[Measured]


def lines(peers: Sequence[Peer], measured: Mapping[str, Rounds], failed: Mapping[str, str]) -> Iterator[str]:
    """The table, then the version of each server, then the reasons for missing figures."""
    yield _row(COLUMNS)
    yield _row("---" for _ in COLUMNS)
    for peer in peers:
        rounds = measured[peer.name]
        yield _row(_cells(peer, rounds) if rounds else [peer.name, "not measured", *[""] * (len(COLUMNS) - 2)])
    yield ""
    for peer in peers:
        if measured[peer.name]:
            yield f"{peer.name}: {peer.versions()}; spread {spread(measured[peer.name]):.0%}"
    yield from (f"{name}: not measured in full: {reason}" for name, reason in failed.items())


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(peer: Peer, rounds: Rounds) -> list[str]:
    over = [one.over for one in rounds]
    return [
        peer.name,
        peer.upload.name,
        f"{median(one.start_s for one in rounds):.1f} s",
        *_goodput_and_wait([one.alone for one in rounds]),
        *_goodput_and_wait([one.full for one in rounds]),
        f"{median(point.offered for point in over):.0f}/s",
        *_goodput_and_wait(over),
        _wait(over, REFUSED),
        str(sum(point.record.counts[RESET] for point in over)),
        _named(sum((Counter(point.others()) for point in over), Counter())),
        f"{median(one.memory for one in rounds) / 1e6:.0f} MB",
    ]


def spread(rounds: Rounds) -> float:
    """(highest - lowest) / median of the goodput of closed-loop clients: how steady the machine was."""
    rates = [one.full.goodput for one in rounds]
    return (max(rates) - min(rates)) / (median(rates) or 1)


def _goodput_and_wait(points: Sequence[Point]) -> tuple[str, str]:
    return f"{median(point.goodput for point in points):.1f}/s", _wait(points, "200")


def _wait(points: Sequence[Point], outcome: str) -> str:
    """P50 and P99 over the rounds with this outcome."""
    seen = [point.record for point in points if point.record.counts[outcome]]

    def ms(percentile: float) -> float:
        return median(record.ms(outcome, percentile) for record in seen)

    return f"{ms(50):.1f} / {ms(99):.1f}" if seen else NONE


def _named(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "0"
