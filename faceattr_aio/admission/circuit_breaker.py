"""Asking Redis, which may be slow, gone or out of its mind: nobody waits longer for it than was said, and once it has
failed a few times nobody asks for a while. Knows not what is asked.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

log = logging.getLogger("faceattr_aio.guard")

_FAILURES, _REST_S = 3, 5.0
"""So many in a row, and so long nothing is asked."""
_NOT_TO_BE_HAD = (RedisError, OSError, TimeoutError, ValueError)
T = TypeVar("T")


class Breaker:
    """Open for a while after so many failures in a row."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        """All there were."""
        self._in_a_row = 0
        self._until = 0.0
        self._clock = clock

    @property
    def is_open(self) -> bool:
        return self._clock() < self._until

    def succeed(self) -> None:
        self._in_a_row = 0

    def fail(self) -> bool:
        """Whether this is the one that opens it."""
        self.failures += 1
        self._in_a_row += 1
        if self._in_a_row < _FAILURES or self.is_open:
            return False
        self._until = self._clock() + _REST_S
        return True


class CircuitBreaker:
    """Waits `timeout_s` at most; `otherwise` is for the log, and says what happens while nothing is asked."""

    def __init__(self, timeout_s: float, otherwise: str) -> None:
        self._breaker = Breaker()
        self._timeout_s, self._otherwise = timeout_s, otherwise

    @property
    def failures(self) -> int:
        return self._breaker.failures

    @property
    def is_resting(self) -> bool:
        """Whether nothing would be asked now."""
        return self._breaker.is_open

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None when there is none in time."""
        if self._breaker.is_open:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await question()
        except _NOT_TO_BE_HAD as error:
            if self._breaker.fail():
                log.warning("%s for %g s: Redis: %s", self._otherwise, _REST_S, error or type(error).__name__)
            return None
        self._breaker.succeed()
        return answer
