"""Limits of the jobs that are queued or in progress: their number, the bytes of their pictures, and the share of one
client.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack

from faceattr_aio.admission.clients import ClientConcurrency
from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import StorageUnavailable


class JobCapacity:
    """At most `max_jobs` jobs with `max_bytes` of pictures; one client may hold `share` (0 to 1) of the jobs.

    Used on the event loop only. `Retry-After` of a refusal is the time until all present jobs will have ended.
    """

    def __init__(self, max_jobs: int, max_bytes: int, share: float = math.inf) -> None:
        self.limiter = Limiter(max_jobs, 1, "jobs")
        self.max_bytes = max_bytes
        self._clients = ClientConcurrency(self.limiter, share, "jobs are not done yet")
        self._bytes = 0

    def change_share(self, share: float) -> None:
        """Change the share of one client; a client that holds more keeps its jobs."""
        self._clients.share = share

    def check(self, client: str) -> None:
        """Check that one more job is possible. Raises Overloaded, Draining, RateLimited or StorageUnavailable."""
        self.limiter.check()
        self._clients.check(client)
        if self._bytes >= self.max_bytes:
            raise self.storage_full()

    def acquire(self, client: str, size: int) -> Callable[[], None]:
        """Acquire capacity for a job of `size` bytes and return its release. Raises what `check` raises."""
        self.check(client)
        with ExitStack() as acquired:
            acquired.callback(self.limiter.acquire())
            acquired.callback(self._clients.acquire(client))
            self._add_bytes(size)
            acquired.callback(self._add_bytes, -size)
            return acquired.pop_all().close

    def storage_full(self) -> StorageUnavailable:
        """Return the refusal of a job when its pictures exceed the bytes."""
        detail = "The pictures of other jobs use all the space for pictures of jobs; try again later."
        return StorageUnavailable(detail, retry_after_s=self.limiter.wait_s)

    def _add_bytes(self, size: int) -> None:
        """Add to the bytes in use; a job of any size is accepted when there is no other. Raises StorageUnavailable."""
        if size > 0 and self._bytes and self._bytes + size > self.max_bytes:
            raise self.storage_full()
        self._bytes += size
