"""Results that are known, as text under a key, for a while. Only results are kept, never pictures. Knows neither what
they say nor how a key is made.
"""

import time
from collections.abc import Callable
from typing import Protocol

from cachetools import TTLCache

from faceattr_aio.config import load_extra
from faceattr_aio.config.schema import CacheConfig


class Cache(Protocol):
    """Never fails: what it cannot find or keep is not there, and `failures` are counted."""

    @property
    def failures(self) -> int: ...

    async def get(self, key: str) -> str | None:
        """What is known under the key."""

    async def put(self, key: str, value: str) -> None:
        """Keeps it for a while."""

    async def close(self) -> None:
        """Gives back what was opened."""


class MemoryCache:
    """At most `entries` of them, each for `seconds`; the one that was asked for longest ago goes first."""

    def __init__(self, entries: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: TTLCache[str, str] = TTLCache(entries, seconds, clock)

    @property
    def failures(self) -> int:
        return 0

    async def get(self, key: str) -> str | None:
        return self._known.get(key)

    async def put(self, key: str, value: str) -> None:
        self._known[key] = value

    async def close(self) -> None:
        self._known.clear()


def open_cache(settings: CacheConfig) -> Cache | None:
    """As the settings say; None when nothing is to be kept. Raises StartError when a library for it is missing."""
    match settings.backend:
        case "memory":
            return MemoryCache(settings.entries, settings.ttl_s)
        case "redis":
            cache: Cache = load_extra("faceattr_aio.cache.redis_cache", "redis").RedisCache(settings)
            return cache
        case _:
            return None
