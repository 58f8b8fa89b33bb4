"""The submission of a job, the protocol of the backends that process it, and what the backends have in common."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from faceattr_aio.errors import Draining, FaceattrError
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.pipeline import Task
from faceattr_aio.schemas import Document, Job, Progress, answer_body

ENDS = DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
"""The ways in which a job ends."""
POLL_S = 1.0
"""Seconds after which a loop checks again what it is normally notified of."""
_ABORTED = f"urn:faceattr:{Draining.kind}"
Notify = Callable[[Job, str], None]
"""Called with each job that has ended and its callback URL, which may be empty."""


@dataclass(frozen=True)
class JobItem:
    """One picture of a submission. `key` returns its cache key, `size` is in bytes, `resources` hold its file."""

    task: Task | FaceattrError
    key: Callable[[], str | None]
    size: int
    resources: ExitStack


@dataclass(frozen=True)
class Submission:
    """A request for a job. `request` is its id, `callback` is a URL or empty.

    Only the `owner` may read or remove the job.
    """

    request: str
    pipeline: str
    client: str
    owner: str
    callback: str
    items: Sequence[JobItem]

    def close(self) -> None:
        """Close the files of all pictures."""
        for item in self.items:
            item.resources.close()


class Jobs(Protocol):
    """A backend. Call `start` before the first submission and `close` at the end; all on one event loop."""

    capacity: JobCapacity
    ended: Counter[str]
    """Number of jobs that have ended, by `ENDS`."""

    @property
    def waiting(self) -> int:
        """Jobs of which no picture was started."""

    @property
    def running(self) -> int:
        """Jobs in progress."""

    @property
    def is_idle(self) -> bool:
        """True when no job would be lost at the end of the process."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Accept no more jobs, fail those that would be lost, and wake all clients that wait for a job."""

    async def close(self) -> None:
        """Stop, and close all connections."""

    def check(self, client: str) -> None:
        """Check that a job could be accepted. Raises Overloaded, Draining, RateLimited or StorageUnavailable."""

    async def submit(self, submission: Submission) -> Job:
        """Accept a job and close its files after use. Raises what `check` raises; then the caller closes them."""

    async def wait(self, identity: str, owner: str, seconds: float) -> Job:
        """Return the job when it has ended, or as it is after `seconds`. Raises UnknownJob, also for other owners."""

    async def remove(self, identity: str, owner: str) -> None:
        """Cancel and forget the job; its remaining pictures are not started. Raises UnknownJob as `wait` does."""


def describe(identity: str, pipeline: str, done: int, of: int, seconds: float | None = None) -> Job:
    """Return a job that has not ended. `seconds` are those since its first picture was started; None before."""
    return Job(
        id=identity,
        status="queued" if seconds is None else "running",
        pipeline=pipeline,
        progress=Progress(done=done, of=of),
        processing_s=round(max(0.0, seconds or 0.0), 6),
    )


def conclude(job: Job, request: str, bodies: Sequence[Document]) -> Job:
    """Return the job with its result or error, from the response bodies of all its pictures.

    A job that was aborted by the end of a server fails as a whole, because it can be submitted again elsewhere.
    """
    errors = [body["error"] for body in bodies if "error" in body]
    aborted = [error for error in errors if isinstance(error, dict) and error.get("type") == _ABORTED]
    if failed := aborted or (errors if job.progress.of == 1 else []):
        return job.model_copy(update={"status": FAILED, "error": failed[0]})
    return job.model_copy(update={"status": DONE, "result": answer_body(bodies, request)})


async def repeat(
    step: Callable[[], Awaitable[None]], log: logging.Logger, faults: tuple[type[Exception], ...] = ()
) -> None:
    """Call `step` in a loop, until cancelled; log an exception and continue after a pause.

    Exceptions of the types `faults` are expected and logged at level debug.
    """
    logged: set[type[Exception]] = set()
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001  # the loop has to survive whatever the step raises
            if isinstance(error, faults):
                log.debug("a background task of the jobs failed: %s", error)
            else:
                log_first(log, error, logged)
            await asyncio.sleep(POLL_S)


def log_first(log: logging.Logger, error: Exception, logged: set[type[Exception]]) -> None:
    """Log an unexpected exception of a loop that continues, unless its type is among those `logged` before."""
    if type(error) not in logged:
        logged.add(type(error))
        name = type(error).__name__
        log.error("a background task of the jobs failed and continues; %s is not logged again", name, exc_info=error)
