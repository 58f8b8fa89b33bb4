"""How many jobs, and how many bytes of their pictures, may be kept for later. Knows not what becomes of them."""

import math
import threading
from collections.abc import Callable
from contextlib import ExitStack

from faceattr_aio.admission.clients import ClientConcurrency
from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import StorageUnavailable


class JobCapacity:
    """For `most` jobs of `most_bytes` together, of which one client may have its share. When it is full, a refusal says
    when all of them will be over, as the last ones went.
    """

    def __init__(self, most: int, most_bytes: int, share: float = math.inf) -> None:
        self.limiter = Limiter(most, 1, "jobs")
        self.share = ClientConcurrency(self.limiter, share, "jobs are not done yet")
        self.most_bytes = most_bytes
        self._bytes = 0
        self._counting = threading.Lock()

    def check(self, client: str) -> None:
        """Whether there is room for one more. Raises Overloaded, Draining, RateLimited or StorageUnavailable."""
        self.limiter.check()
        self.share.check(client)
        if self._bytes >= self.most_bytes:
            raise self.no_bytes()

    def take(self, client: str, size: int) -> Callable[[], None]:
        """Takes room for a job of so many bytes and returns its release. Raises as `check` does."""
        self.check(client)
        with ExitStack() as taken:
            taken.callback(self.limiter.acquire())
            taken.callback(self.share.acquire(client))
            self._count(size)
            taken.callback(self._count, -size)
            return taken.pop_all().close

    def _count(self, size: int) -> None:
        """One job always fits where there is no other."""
        with self._counting:
            if size > 0 and self._bytes and self._bytes + size > self.most_bytes:
                raise self.no_bytes()
            self._bytes += size

    def no_bytes(self) -> StorageUnavailable:
        """The refusal of one whose pictures have no room."""
        said = "The pictures of other jobs take all the room there is for them; try again later."
        return StorageUnavailable(said, retry_after_s=self.limiter.wait_s)
