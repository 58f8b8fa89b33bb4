"""Results in Redis, which several servers share. Knows not what they say."""

import asyncio

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from faceattr_aio.admission.circuit_breaker import CircuitBreaker
from faceattr_aio.config.schema import Cache as Settings

_PREFIX = "faceattr:result:"
_MOST_PUTS = 64
"""Results that may be on their way at a time; what comes then is not kept."""


class RedisCache:
    """As `cache.url` says."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis.from_url(settings.url, decode_responses=True, retry=Retry(NoBackoff(), 0))
        self._ttl_ms = round(settings.ttl_s * 1e3)
        self._guard = CircuitBreaker(settings.timeout_s, "results are not looked up")
        self._puts: set[asyncio.Task[object]] = set()

    @property
    def failures(self) -> int:
        return self._guard.failures

    async def get(self, key: str) -> str | None:
        text = await self._guard.call(lambda: self._redis.get(_PREFIX + key))
        return None if text is None else str(text)

    async def put(self, key: str, value: str) -> None:
        """Nobody waits until it is there."""
        if self._guard.is_open or len(self._puts) >= _MOST_PUTS:
            return
        putting = asyncio.create_task(self._put(key, value))
        self._puts.add(putting)
        putting.add_done_callback(self._puts.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._puts)
        await self._redis.aclose()

    async def _put(self, key: str, value: str) -> object:
        return await self._guard.call(lambda: self._redis.set(_PREFIX + key, value, px=self._ttl_ms))
