"""Slots for those who were let in and rather wait than be refused: first come, first served, and up to half of all, so
that newcomers are left the others. Knows nothing of what is done in a slot.
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
    """One for each limiter. Who waits is promised the next free slots, up to the share; all of it on one event loop."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._waiting: deque[asyncio.Future[Release]] = deque()
        self._held: set[object] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        limiter.freed.append(self._wake)

    @property
    def most(self) -> int:
        """Slots that those who wait may hold together."""
        return max(1, int(self._limiter.limit * _SHARE))

    async def acquire(self) -> Release:
        """Waits for a slot, and returns its release, which is called from any thread, once."""
        self._loop = asyncio.get_running_loop()
        turn: asyncio.Future[Release] = self._loop.create_future()
        self._waiting.append(turn)  # first, so that a slot that is freed meanwhile in a thread is not missed
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def _wake(self) -> None:
        """Called from any thread."""
        if self._waiting and self._loop:
            with suppress(RuntimeError):  # the loop has ended, and all who waited with it
                self._loop.call_soon_threadsafe(self._serve)

    def _serve(self) -> None:
        """Gives out what there is."""
        while self._waiting and len(self._held) < self.most:
            if self._waiting[0].done():  # cancelled
                self._waiting.popleft()
                continue
            try:
                free = self._limiter.acquire(promised=True)
            except Overloaded:
                break
            self._waiting.popleft().set_result(self._hold(free))
        self._limiter.promised = max(0, min(len(self._waiting), self.most - len(self._held)))

    def _hold(self, free: Release) -> Release:
        slot = object()
        self._held.add(slot)

        def release() -> None:
            self._held.remove(slot)
            free()

        return release

    def _give_up(self, turn: "asyncio.Future[Release]") -> None:
        """Somebody waits no longer; a slot that came at the same moment goes back."""
        if not turn.cancelled():
            turn.result()()
        self._serve()
