"""Cache of results, as text, in the memory of this process. Pictures are never cached."""

import time
from collections.abc import Callable
from typing import Protocol

from cachetools import TTLCache

from faceattr_aio.config import load_extra
from faceattr_aio.config.schema import CacheConfig


class ResultCache(Protocol):
    """Results as text by key. No method raises: a failure is counted in `failures` and treated as a miss."""

    @property
    def failures(self) -> int: ...

    async def get(self, key: str) -> str | None:
        """Return the value of the key, or None."""

    async def put(self, key: str, value: str) -> None:
        """Store a value until it expires."""

    async def close(self) -> None:
        """Close the connections."""


class MemoryCache:
    """Up to `entries` values, each for `seconds`; the least recently used one is evicted first."""

    failures = 0

    def __init__(self, entries: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._values: TTLCache[str, str] = TTLCache(entries, seconds, clock)

    async def get(self, key: str) -> str | None:
        return self._values.get(key)

    async def put(self, key: str, value: str) -> None:
        self._values[key] = value

    async def close(self) -> None:
        self._values.clear()


def open_cache(settings: CacheConfig) -> ResultCache | None:
    """Create the cache selected by `backend`; None for `none`. Raises StartError when its library is missing."""
    if settings.backend == "memory":
        return MemoryCache(settings.entries, settings.ttl_s)
    if settings.backend == "redis":
        cache: ResultCache = load_extra("faceattr_aio.cache.redis_cache", "redis").RedisCache(settings)
        return cache
    return None
