"""What several servers share in Redis beside results: how many requests each client has made, and API keys. While Redis
cannot be asked, each server goes by what it knows itself. Knows no HTTP.
"""

import asyncio
import math
from collections.abc import Awaitable
from contextlib import suppress
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from faceattr_aio.admission.circuit_breaker import CircuitBreaker
from faceattr_aio.admission.clients import MINUTE_NS, too_early
from faceattr_aio.config.schema import SharedConfig

_RATE, _KEYS = "faceattr:rate:", "faceattr:keys"
_GCRA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local recovered = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now)) + interval
local early = recovered - now - most * interval
if early > 0 then return early end
redis.call('SET', KEYS[1], string.format('%.0f', recovered), 'PX', math.ceil((recovered - now) / 1000))
return 0
"""
"""What `fairness.Rate` does, by Redis' clock, in microseconds."""


class RedisRateLimiter:
    """Counts requests for all servers together."""

    def __init__(self, redis: Redis, guard: CircuitBreaker) -> None:
        self._count = redis.register_script(_GCRA)
        self._guard = guard

    async def count(self, client: str, per_minute: int) -> None:
        """Takes one request into account, if Redis can be asked. Raises RateLimited."""
        interval_us = math.ceil(MINUTE_NS / 1e3 / per_minute)
        early_us = await self._guard.ask(lambda: self._count([f"{_RATE}{client}"], [interval_us, per_minute]))
        if early_us:
            raise too_early(per_minute, round(early_us * 1e3))


class RedisKeys:
    """The SHA-256 of keys that are let in, looked up every `period_s` seconds. A key that is taken away is refused
    after that long; while Redis cannot be asked, the keys stay that were last seen.
    """

    def __init__(self, redis: Redis, guard: CircuitBreaker, period_s: float) -> None:
        self.digests: frozenset[bytes] = frozenset()
        self._redis, self._guard, self._period_s = redis, guard, period_s

    async def refresh(self) -> None:
        """What is in the set now. What is no SHA-256 in hexadecimal lets nobody in."""
        found = await self._guard.ask(lambda: cast("Awaitable[set[str]]", self._redis.smembers(_KEYS)))
        if found is not None:
            self.digests = frozenset(digest for text in found if (digest := _digest(text)))

    async def follow(self) -> None:
        """Without end."""
        while True:
            await asyncio.sleep(self._period_s)
            await self.refresh()


class Shared:
    """As `[shared]` says; `keys` are looked up only where they are asked for."""

    def __init__(self, settings: SharedConfig, *, with_keys: bool) -> None:
        self._redis = Redis.from_url(settings.url or "", decode_responses=True, retry=Retry(NoBackoff(), 0))
        self._guard = CircuitBreaker(settings.timeout_s, "each server counts alone and keeps the API keys that it has")
        self.rate = RedisRateLimiter(self._redis, self._guard)
        self.keys = RedisKeys(self._redis, self._guard, settings.keys_period_s) if with_keys else None
        self._following: asyncio.Task[None] | None = None

    @property
    def failures(self) -> int:
        """How often Redis could not be asked."""
        return self._guard.failures

    async def start(self) -> None:
        """Knows the keys, if Redis can be asked, and follows them from then on."""
        if self.keys:
            await self.keys.refresh()
            self._following = asyncio.create_task(self.keys.follow())

    async def close(self) -> None:
        if self._following:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._redis.aclose()


def _digest(text: str) -> bytes | None:
    with suppress(ValueError):
        if len(digest := bytes.fromhex(text)) == 32:  # noqa: PLR2004  # bytes of a SHA-256
            return digest
    return None
