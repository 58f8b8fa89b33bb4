"""Jobs: pictures that are taken in now, worked on when there is room, and asked for later. What is ordered, and what
every place that keeps jobs can do. Knows neither HTTP nor where they are kept.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from faceattr_aio.answers import Job, Progress
from faceattr_aio.batch import Outcome
from faceattr_aio.documents import answer, problem
from faceattr_aio.errors import Draining, FaceattrError
from faceattr_aio.job_room import Room
from faceattr_aio.pipeline import Task

ENDS = DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
"""What becomes of jobs."""
Tell = Callable[[Job, str], None]
"""Told of a job that is over, and the URL that wants to know, or nothing."""


@dataclass(frozen=True)
class Picture:
    """One of an order: what is to be done, the key of its result if that may be known, its bytes, and its file."""

    task: Task | FaceattrError
    key: str | None
    size: int
    file: ExitStack


@dataclass(frozen=True)
class Order:
    """What a `client` wants of one pipeline, asked for in the `request` of that id. Only its `owner` may see what comes
    of it; `callback` is the URL that is told, or nothing.
    """

    request: str
    pipeline: str
    client: str
    owner: str
    callback: str
    pictures: Sequence[Picture]


class Jobs(Protocol):
    """`start` before the first order, `close` at the end."""

    room: Room
    ended: Counter[str]
    """How many, by `ENDS`."""

    @property
    def waiting(self) -> int:
        """Jobs of which no picture was begun yet."""

    @property
    def running(self) -> int:
        """Jobs of which some were."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost if the process ended now."""

    async def start(self) -> None: ...

    async def close(self) -> None:
        """What is not done by now and would be lost is told failed."""

    def check(self, client: str) -> None:
        """Whether there is room for one more. Raises Overloaded, Draining, RateLimited or StorageUnavailable."""

    async def submit(self, order: Order) -> Job:
        """Takes it, or raises as `check` does. Once taken, its files are closed when nobody needs them any more."""

    async def find(self, identity: str, owner: str) -> Job:
        """Raises UnknownJob, also for those of others."""

    async def wait(self, identity: str, owner: str, seconds: float) -> Job:
        """As it is when it is over, at the latest after so many seconds. Raises UnknownJob."""

    async def remove(self, identity: str, owner: str) -> None:
        """Forgets it; what of it was not begun never is. Raises UnknownJob."""


def conclude(job: Job, request: str, outcomes: Sequence[Outcome]) -> Job:
    """The job once all its pictures have come to something. One that a server left undone as it went down fails as a
    whole, since it can be asked for again elsewhere.
    """
    failed = next((one for one in outcomes if isinstance(one, Draining)), outcomes[0] if job.progress.of == 1 else None)
    if isinstance(failed, FaceattrError):
        return job.model_copy(update={"status": "failed", "error": problem(failed, request)})
    over = Progress(done=job.progress.of, of=job.progress.of)
    return job.model_copy(update={"status": "done", "progress": over, "result": answer(outcomes, request)})
