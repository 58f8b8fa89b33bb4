"""Compares two reports, and decides whether the second is worse.

    python -m bench.stress.compare bench/reports/A bench/reports/B

Exit status 1: it is worse.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stress.measurements import Measurements, Run, Step, read

WORSE_GOODPUT, WORSE_P99 = 0.9, 1.5
"""Ratio of the second to the first beyond which it counts as worse. The limits are wide, because machines are unsteady.
"""
LEAST_P99_MS = 20.0
"""Least increase; a smaller one is noise."""
FAILED_MORE = 0.01


@dataclass(frozen=True)
class Pair:
    """The same run at the same number of users in both reports."""

    run: str
    before: Step
    after: Step


def pairs(first: Measurements, second: Measurements) -> Iterator[Pair]:
    """The levels that are in both reports."""
    for run in second.runs:
        before = first.run(run.name)
        for step in run.steps:
            if before and (same := before.at(step.users)):
                yield Pair(run.name, same, step)


def regressions(first: Measurements, second: Measurements) -> list[str]:
    """The regressions of the judged run, a sentence for each."""
    run = second.runs[0]
    before = first.run(run.name)
    if before is None or not _alike(before, run):
        return []
    found = []
    if (peak := run.peak().goodput_per_s) < WORSE_GOODPUT * before.peak().goodput_per_s:
        found.append(f"{run.name}: goodput fell from {before.peak().goodput_per_s:.1f}/s to {peak:.1f}/s")
    was, now = _worst_p99(before), _worst_p99(run)
    if now > max(WORSE_P99 * was, was + LEAST_P99_MS):
        found.append(f"{run.name}: the worst P99 of accepted answers rose from {was:.0f} ms to {now:.0f} ms")
    if _failed(run) > _failed(before) + FAILED_MORE:
        found.append(f"{run.name}: failures rose from {_failed(before):.1%} to {_failed(run):.1%}")
    return found


def _alike(first: Run, second: Run) -> bool:
    """Return whether both runs had the same load."""
    keys = ("preset", "think_s", "patience_s", "shape", "honours_retry_after")
    users = [step.users for step in first.steps] == [step.users for step in second.steps]
    return users and all(getattr(first, key) == getattr(second, key) for key in keys)


def _worst_p99(run: Run) -> float:
    return max(step.accepted.p99_ms for step in run.steps)


def _failed(run: Run) -> float:
    requests = sum(step.requests_per_s for step in run.steps)
    return sum(step.failed_per_s for step in run.steps) / requests if requests else 0.0


def table(first: Measurements, second: Measurements) -> list[str]:
    """A Markdown table with before -> after in each cell."""
    lines = ["| run | users | goodput/s | mean ms | P99 ms | refused/s | failed/s |", "|---|---|---|---|---|---|---|"]
    for pair in pairs(first, second):
        a, b = pair.before, pair.after
        cells = (
            f"{a.goodput_per_s:.1f} -> {b.goodput_per_s:.1f}",
            f"{a.accepted.mean_ms:.0f} -> {b.accepted.mean_ms:.0f}",
            f"{a.accepted.p99_ms:.0f} -> {b.accepted.p99_ms:.0f}",
            f"{a.refused_per_s:.1f} -> {b.refused_per_s:.1f}",
            f"{a.failed_per_s:.2f} -> {b.failed_per_s:.2f}",
        )
        lines.append(f"| {pair.run} | {b.users} | {' | '.join(cells)} |")
    return lines


def machines(first: Measurements, second: Measurements) -> list[str]:
    """A Markdown table of the two machines."""
    lines = ["| | first | second |", "|---|---|---|", f"| made | {first.made} | {second.made} |"]
    sides = [{**one.machine.model_dump(), **one.versions} for one in (first, second)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    return lines + [f"| {name} | {sides[0].get(name, '-')} | {sides[1].get(name, '-')} |" for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.compare")
    parser.add_argument("first", type=Path, help="folder of a report, or its measurements.json")
    parser.add_argument("second", type=Path)
    chosen = parser.parse_args(arguments)
    first, second = read(chosen.first), read(chosen.second)
    worse = regressions(first, second)
    print("\n".join([*machines(first, second), "", *table(first, second), ""]))
    print("\n".join(worse) or "nothing is worse")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
