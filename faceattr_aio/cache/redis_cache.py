"""Cache of results in Redis, shared by several servers."""

import asyncio

from faceattr_aio.admission.circuit_breaker import CircuitBreaker, connect
from faceattr_aio.config.schema import CacheConfig

_PREFIX = "faceattr:result:"
_MAX_PUTS = 64
"""Values being stored at the same time; others are dropped."""


class RedisCache:
    """Values in the Redis at `cache.url`, for `cache.ttl_s` each."""

    def __init__(self, settings: CacheConfig) -> None:
        self._redis = connect(settings.url)
        self._ttl_ms = round(settings.ttl_s * 1e3)
        self._breaker = CircuitBreaker(settings.timeout_s, "results are not looked up")
        self._puts: set[asyncio.Task[object]] = set()

    @property
    def failures(self) -> int:
        return self._breaker.failures

    async def get(self, key: str) -> str | None:
        text = await self._breaker.call(lambda: self._redis.get(_PREFIX + key))
        return None if text is None else str(text)

    async def put(self, key: str, value: str) -> None:
        """Store a value in the background, or drop it while Redis fails or is slow."""
        if self._breaker.is_open or len(self._puts) >= _MAX_PUTS:
            return
        storing = self._breaker.call(lambda: self._redis.set(_PREFIX + key, value, px=self._ttl_ms))
        task: asyncio.Task[object] = asyncio.create_task(storing)
        self._puts.add(task)
        task.add_done_callback(self._puts.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._puts)
        await self._redis.aclose()
