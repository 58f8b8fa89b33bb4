"""Counts the answers of each level of load by kind, with their durations. The counts can be sent to another process and
added there.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # it has no type hints

from bench.stress.answers import Answer
from bench.stress.measurements import Step, Waits
from bench.stress.shapes import Course
from bench.support.openloop import Record

_PICTURE = "picture "
_AFTER = "answered after"
Exported = dict[str, Any]


class Level:
    """The answers of one level: durations by kind, and outcomes."""

    def __init__(self) -> None:
        self.record = Record()
        self.outcomes: Counter[str] = Counter()

    def add(self, answer: Answer, seconds: float, picture: str) -> None:
        self.record.add(answer.kind, seconds)
        self.outcomes[answer.outcome] += 1
        if answer.kind == "accepted":
            self.record.add(_PICTURE + picture, seconds)

    def answered(self, seconds: float) -> None:
        """Record the time from a user's first try to the accepted answer."""
        self.record.add(_AFTER, seconds)

    def export(self) -> Exported:
        times = {key: histogram.encode().decode() for key, histogram in self.record.times.items()}
        return {"outcomes": dict(self.outcomes), "counts": dict(self.record.counts), "times": times}

    def merge(self, exported: Exported) -> None:
        self.outcomes.update(exported["outcomes"])
        self.record.counts.update(exported["counts"])
        for key, text in exported["times"].items():
            other = HdrHistogram.decode(text)
            if key in self.record.times:
                self.record.times[key].add(other)
            else:
                self.record.times[key] = other

    def waits(self, key: str) -> Waits:
        if not self.record.counts[key]:
            return Waits()
        p50, p95, p99 = (self.record.ms(key, percentile) for percentile in (50, 95, 99))
        mean = self.record.times[key].get_mean_value() / 1e3
        return Waits(count=self.record.counts[key], mean_ms=mean, p50_ms=p50, p95_ms=p95, p99_ms=p99)

    def by_picture(self) -> dict[str, Waits]:
        return {
            key.removeprefix(_PICTURE): self.waits(key) for key in sorted(self.record.times) if key.startswith(_PICTURE)
        }


class Recorder:
    """The records of all levels of one course."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.levels: dict[int, Level] = {}

    def level(self, seconds: float) -> Level | None:
        """The level that an answer at this time counts for; None if it does not count."""
        index = self.course.counting(seconds)
        return None if index is None else self.levels.setdefault(index, Level())

    def export(self) -> Exported:
        """Return all records as plain data, and reset them."""
        exported = {str(index): level.export() for index, level in self.levels.items()}
        self.levels = {}
        return exported

    def merge(self, exported: Mapping[str, Exported]) -> None:
        for index, level in exported.items():
            self.levels.setdefault(int(index), Level()).merge(level)

    def steps(self, began_s: float, ended_s: float) -> list[Step]:
        """The results between two moments of the monotonic clock, level by level; a level that was cut short counts for
        the time that it lasted.
        """
        measured = []
        for index, level in enumerate(self.course.levels):
            begin = self.course.begin(index)
            seconds = min(level.seconds - level.settle_s, ended_s - began_s - begin)
            if seconds > 0:
                measured.append(self._step(index, began_s + begin, seconds))
        return measured

    def _step(self, index: int, began_s: float, seconds: float) -> Step:
        level, seen = self.course.levels[index], self.levels.get(index, Level())
        kinds = {kind: seen.waits(kind) for kind in ("accepted", "refused", "rejected", "failed")}
        rates = {kind: waits.count / seconds for kind, waits in kinds.items()}
        return Step(
            users=level.users,
            seconds=seconds,
            began_s=began_s,
            rate=level.rate,
            requests_per_s=sum(rates.values()),
            goodput_per_s=rates["accepted"],
            refused_per_s=rates["refused"],
            rejected_per_s=rates["rejected"],
            failed_per_s=rates["failed"],
            answered_after=seen.waits(_AFTER),
            by_picture=seen.by_picture(),
            outcomes=dict(seen.outcomes),
            **kinds,
        )
