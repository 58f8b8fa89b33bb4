"""What is told of a request once it has its answer: sizes, times and words out of short lists, never what was in it.
Knows no HTTP library and nobody who listens.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from faceattr_aio.pipeline import Reply

_REFUSALS = frozenset({429, 503})
_FAULTS = 500
"""The lowest status of a fault of ours."""


@dataclass
class Story:
    """One request. `path` is as the client sent it, without the query, `route` as it was declared, `pipeline` its name
    or nothing, `kind` that of its failure. `received` and `sent` are bytes of bodies, `since` is on the monotonic
    clock, `seconds` last to the first byte of the answer, `waiting` is how many waited for a worker as it came, `laps`
    are milliseconds by stage, `counts` what was found, `sources` whether results were computed (`miss`, `collapsed`,
    `hit`), and `traceparent` is W3C's.
    """

    id: str
    method: str
    path: str = ""
    traceparent: str = ""
    since: float = field(default_factory=time.monotonic)
    pipeline: str = ""
    route: str = ""
    status: int = 0
    kind: str = ""
    received: int = 0
    sent: int = 0
    seconds: float = 0.0
    waiting: int = 0
    pictures: int = 0
    laps: list[Mapping[str, float]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    open: bool = False
    """Whether its answer has begun and goes on: it is not to be told yet."""
    in_parts: bool = False
    """Whether what was done for it was told picture by picture."""

    def end_upload(self, pictures: int) -> None:
        """Called when so many pictures have arrived."""
        self.pictures = pictures
        self.laps.append({"upload": (time.monotonic() - self.since) * 1e3})

    def end_work(self, reply: Reply, counts: Mapping[str, int]) -> None:
        """Called with the reply for each picture, and what was counted in it."""
        self.laps.append(reply.laps)
        self.sources[reply.source] += 1
        self.counts.update(counts)

    def absorb(self, part: "Story") -> None:
        """Takes in what was told already of some of its pictures, and grows no larger, however many follow."""
        self.pictures += part.pictures
        self.counts.update(part.counts)
        self.sources.update(part.sources)
        self.laps = [*self.laps, *part.laps]
        self.laps = [self.stages]
        self.in_parts = True

    @property
    def ended(self) -> float:
        """When its answer was ready, on the monotonic clock."""
        return self.since + self.seconds

    @property
    def ended_at(self) -> float:
        """The same in seconds since 1970."""
        return time.time() - (time.monotonic() - self.ended)  # noqa: TID251  # a point in time

    @property
    def refused(self) -> bool:
        """Whether the answer was to come back later: no fault of anybody."""
        return self.status in _REFUSALS

    @property
    def failed(self) -> bool:
        """Whether the fault was ours."""
        return self.status >= _FAULTS and not self.refused

    @property
    def stages(self) -> dict[str, float]:
        """Milliseconds by stage, summed over the pictures."""
        total: dict[str, float] = {}
        for lap in self.laps:
            for stage, ms in lap.items():
                total[stage] = total.get(stage, 0.0) + ms
        return total

    @property
    def timing(self) -> str:
        """The stages as W3C Server Timing has them."""
        return ", ".join(f"{stage};dur={ms:.2f}" for stage, ms in self.stages.items())

    def fields(self) -> dict[str, object]:
        """All of it as plain data."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "pipeline": self.pipeline,
            "status": self.status,
            "kind": self.kind,
            "received_bytes": self.received,
            "sent_bytes": self.sent,
            "ms": round(self.seconds * 1e3, 2),
            "pictures": self.pictures,
            **self.counts,
            **self.sources,
            "stages_ms": {stage: round(ms, 2) for stage, ms in self.stages.items()},
        }
