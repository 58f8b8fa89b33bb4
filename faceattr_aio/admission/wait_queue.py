"""FIFO wait queue for admitted work that waits for a slot instead of being refused: the pictures of streams. It may
hold up to half of the slots of its limiter; newcomers have the others.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import Overloaded

Release = Callable[[], None]
_SHARE = 0.5


class WaitQueue:
    """One for each limiter, used on one event loop. The next free slots are reserved for the waiters, up to the share.

    A reserved slot is refused to newcomers, so the waiters are served however many newcomers there are.
    """

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._waiters: deque[asyncio.Future[Release]] = deque()
        self._slots: set[object] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        limiter.on_release(self._wake)

    async def acquire(self) -> Release:
        """Wait for a slot and return its release, which is called once, from any thread."""
        self._loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Release] = self._loop.create_future()
        self._waiters.append(waiter)  # first, so that a release in another thread at this moment wakes it
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it received a slot at the same moment
                waiter.result()()
            self._serve()
            raise

    @property
    def _free(self) -> int:
        """Slots that the queue may still acquire."""
        return max(1, int(self._limiter.limit * _SHARE)) - len(self._slots)

    def _wake(self) -> None:
        """Called after a release, in any thread."""
        if self._waiters and self._loop:
            with suppress(RuntimeError):  # the loop is closed, and every waiter is gone
                self._loop.call_soon_threadsafe(self._serve)

    def _serve(self) -> None:
        """Hand the free slots to the waiters and reserve the next ones."""
        while self._waiters and self._free > 0:
            if self._waiters[0].done():  # cancelled
                self._waiters.popleft()
                continue
            try:
                release = self._limiter.acquire(use_reserved=True)
            except Overloaded:
                break
            self._waiters.popleft().set_result(self._count(release))
        self._limiter.reserved = max(0, min(len(self._waiters), self._free))

    def _count(self, release: Release) -> Release:
        slot = object()
        self._slots.add(slot)

        def release_both() -> None:
            self._slots.remove(slot)
            release()

        return release_both
