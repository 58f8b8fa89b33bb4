"""State, other than results, that several servers share in Redis: the request rate of each client, and API keys. While
Redis is unavailable, each server uses its own.
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
from faceattr_aio.admission.clients import MINUTE_NS, rate_limited
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
"""The algorithm of `clients.RateLimiter` with the clock of Redis, in microseconds."""
_DIGEST_BYTES = 32


class RedisRateLimiter:
    """Counts the requests to all servers together."""

    def __init__(self, redis: Redis, breaker: CircuitBreaker) -> None:
        self._count = redis.register_script(_GCRA)
        self._breaker = breaker

    async def count(self, client: str, per_minute: int) -> None:
        """Count one request, unless Redis is unavailable. Raises RateLimited."""
        interval_us = math.ceil(MINUTE_NS / 1e3 / per_minute)
        early_us = await self._breaker.call(lambda: self._count([f"{_RATE}{client}"], [interval_us, per_minute]))
        if early_us:
            raise rate_limited(per_minute, round(early_us * 1e3))


class RedisKeys:
    """The SHA-256 digests of accepted API keys, read every `period_s` seconds. While Redis is unavailable, the digests
    of the last read stay valid.
    """

    def __init__(self, redis: Redis, breaker: CircuitBreaker, period_s: float) -> None:
        self.digests: frozenset[bytes] = frozenset()
        self._redis, self._breaker, self._period_s = redis, breaker, period_s

    async def refresh(self) -> None:
        """Read the set; members that are not a SHA-256 in hexadecimal are ignored."""
        members = await self._breaker.call(lambda: cast("Awaitable[set[str]]", self._redis.smembers(_KEYS)))
        if members is not None:
            self.digests = frozenset(digest for text in members if (digest := _digest(text)))

    async def follow(self) -> None:
        """Refresh periodically until cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            await self.refresh()


class RedisState:
    """The connection to Redis and the shared state. `keys` is None without `with_keys`."""

    def __init__(self, settings: SharedConfig, *, with_keys: bool) -> None:
        self._redis = Redis.from_url(settings.url or "", decode_responses=True, retry=Retry(NoBackoff(), 0))
        self._breaker = CircuitBreaker(
            settings.timeout_s, "each server counts alone and keeps the API keys that it has"
        )
        self.rate = RedisRateLimiter(self._redis, self._breaker)
        self.keys = RedisKeys(self._redis, self._breaker, settings.keys_period_s) if with_keys else None
        self._following: asyncio.Task[None] | None = None

    @property
    def failures(self) -> int:
        """Calls to Redis that failed."""
        return self._breaker.failures

    async def start(self) -> None:
        """Read the keys, and follow their changes from then on."""
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
        if len(digest := bytes.fromhex(text)) == _DIGEST_BYTES:
            return digest
    return None
