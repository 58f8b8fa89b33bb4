"""Jobs: pictures that are taken in now, worked on when there is room, and asked for later. What is ordered, and what
every place that keeps jobs can do. Knows neither HTTP nor where they are kept.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from faceattr_aio.errors import Draining, FaceattrError
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.pipeline import Task
from faceattr_aio.schemas import Document, Job, Progress, answer_body

ENDS = DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
"""What becomes of jobs."""
_LOST = f"urn:faceattr:{Draining.kind}"
Tell = Callable[[Job, str], None]
"""Told of a job that is over, and the URL that wants to know, or nothing."""


@dataclass(frozen=True)
class JobItem:
    """One of an order: what is to be done, the key under which its result may be known, its bytes, and its file."""

    task: Task | FaceattrError
    key: Callable[[], str | None]
    size: int
    file: ExitStack


@dataclass(frozen=True)
class Submission:
    """What a `client` wants of one pipeline, asked for in the `request` of that id. Only its `owner` may see what comes
    of it; `callback` is the URL that is told, or nothing.
    """

    request: str
    pipeline: str
    client: str
    owner: str
    callback: str
    pictures: Sequence[JobItem]


class Jobs(Protocol):
    """`start` before the first order, `close` at the end."""

    room: JobCapacity
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

    async def stop(self) -> None:
        """Takes no more. What is not done by now and would be lost is told failed, and nobody waits any longer."""

    async def close(self) -> None:
        """Stops, and gives back what it holds; nobody asks any more."""

    def check(self, client: str) -> None:
        """Whether there is room for one more. Raises Overloaded, Draining, RateLimited or StorageUnavailable."""

    async def submit(self, order: Submission) -> Job:
        """Takes it, or raises as `check` does. Once taken, its files are closed when nobody needs them any more."""

    async def find(self, identity: str, owner: str) -> Job:
        """Raises UnknownJob, also for those of others."""

    async def wait(self, identity: str, owner: str, seconds: float) -> Job:
        """As it is when it is over, at the latest after so many seconds. Raises UnknownJob."""

    async def remove(self, identity: str, owner: str) -> None:
        """Forgets it; what of it was not begun never is. Raises UnknownJob."""


def conclude(job: Job, request: str, entries: Sequence[Document]) -> Job:
    """The job once all its pictures have come to something. What a server leaves undone as it goes down fails as a
    whole, since it can be asked for again elsewhere.
    """
    errors = [one["error"] for one in entries if "error" in one]
    lost = [one for one in errors if isinstance(one, dict) and one.get("type") == _LOST]
    if failed := lost or (errors if job.progress.of == 1 else []):
        return job.model_copy(update={"status": FAILED, "error": failed[0]})
    over = Progress(done=job.progress.of, of=job.progress.of)
    return job.model_copy(update={"status": DONE, "progress": over, "result": answer_body(entries, request)})
