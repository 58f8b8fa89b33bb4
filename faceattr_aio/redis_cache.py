"""Results in Redis, which several servers share. Redis may be slow, gone or out of its mind: nobody waits longer for it
than the settings say, and once it has failed a few times nobody asks for a while. Knows not what the results say.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from faceattr_aio.config import Cache as Settings

log = logging.getLogger(__name__)

_PREFIX = "faceattr:result:"
_FAILURES, _REST_S = 3, 5.0
"""So many in a row, and so long nothing is asked."""
_MOST_PUTS = 64
"""Results that may be on their way at a time; what comes then is not kept."""
_NOT_TO_BE_HAD = (RedisError, OSError, TimeoutError, ValueError)


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


class RedisCache:
    """As `cache.url` says."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis.from_url(settings.url, decode_responses=True, retry=Retry(NoBackoff(), 0))
        self._settings = settings
        self._breaker = Breaker()
        self._puts: set[asyncio.Task[None]] = set()

    @property
    def failures(self) -> int:
        return self._breaker.failures

    async def get(self, key: str) -> str | None:
        if self._breaker.is_open:
            return None
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                text = await self._redis.get(_PREFIX + key)
        except _NOT_TO_BE_HAD as error:
            self._fail(error)
            return None
        self._breaker.succeed()
        return None if text is None else str(text)

    async def put(self, key: str, value: str) -> None:
        """Nobody waits until it is there."""
        if self._breaker.is_open or len(self._puts) >= _MOST_PUTS:
            return
        putting = asyncio.create_task(self._put(key, value))
        self._puts.add(putting)
        putting.add_done_callback(self._puts.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._puts)
        await self._redis.aclose()

    async def _put(self, key: str, value: str) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._redis.set(_PREFIX + key, value, px=round(self._settings.ttl_s * 1e3))
        except _NOT_TO_BE_HAD as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._breaker.fail():
            log.warning("results are not looked up for %g s: Redis: %s", _REST_S, error or type(error).__name__)
