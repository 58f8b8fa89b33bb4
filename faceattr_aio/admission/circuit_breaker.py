"""Circuit breaker for calls to Redis: each call times out, and after several failures in a row calls are skipped for a
while, so that a slow or unreachable Redis does not delay requests.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger("faceattr_aio.guard")

_FAILURES, _OPEN_S = 3, 5.0
"""Failures in a row that open the breaker, and seconds that it stays open."""
REDIS_FAULTS = RedisError, OSError, RuntimeError
"""Errors of a call when Redis cannot be reached. RuntimeError is that of uvloop for a connection that was closed during
its handshake.
"""
_FAULTS = (*REDIS_FAULTS, ValueError)
T = TypeVar("T")


def connect(url: str) -> Redis:
    """Open a connection on which each call fails at once instead of being repeated."""
    return Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))


class CircuitBreaker:
    """A call times out after `timeout_s`; after three failures in a row calls are skipped for 5 s.

    `consequence` says in the log what happens meanwhile. `failures` counts all of them.
    """

    def __init__(self, timeout_s: float, consequence: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self._timeout_s, self._consequence = timeout_s, consequence
        self._clock = clock
        self._in_a_row = 0
        self._closed_from = 0.0

    @property
    def is_open(self) -> bool:
        """True while calls are skipped."""
        return self._clock() < self._closed_from

    async def call(self, function: Callable[[], Awaitable[T]]) -> T | None:
        """Return what `function` returns; None when it fails, times out or is skipped."""
        if self.is_open:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await function()
        except _FAULTS as error:
            self.failures += 1
            self._in_a_row += 1
            if self._in_a_row >= _FAILURES and not self.is_open:
                self._closed_from = self._clock() + _OPEN_S
                log.warning("%s for %g s: Redis: %s", self._consequence, _OPEN_S, error or type(error).__name__)
            return None
        self._in_a_row = 0
        return result
