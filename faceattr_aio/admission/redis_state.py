"""State, other than results, that several servers share in Redis: the request rate of each client, and API keys. While
Redis is unavailable, each server uses its own.
"""

import asyncio
import math
from collections.abc import Awaitable
from contextlib import suppress
from typing import cast

from faceattr_aio.admission.circuit_breaker import CircuitBreaker, connect
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


class RedisState:
    """Counts the requests of each client to all servers together, and reads the accepted API keys."""

    def __init__(self, settings: SharedConfig, *, with_keys: bool) -> None:
        self.digests: frozenset[bytes] = frozenset()
        """The SHA-256 of each key, read every `keys_period_s` seconds if `with_keys`. While Redis is unavailable, those
        of the last read stay valid.
        """
        self._redis = connect(settings.url or "")
        self._breaker = CircuitBreaker(
            settings.timeout_s, "each server counts alone and keeps the API keys that it has"
        )
        self._count = self._redis.register_script(_GCRA)
        self._period_s, self._with_keys = settings.keys_period_s, with_keys
        self._following: asyncio.Task[None] | None = None

    @property
    def failures(self) -> int:
        """Calls to Redis that failed."""
        return self._breaker.failures

    async def count(self, client: str, per_minute: int) -> None:
        """Count one request, unless Redis is unavailable. Raises RateLimited."""
        interval_us = math.ceil(MINUTE_NS / 1e3 / per_minute)
        early_us = await self._breaker.call(lambda: self._count([f"{_RATE}{client}"], [interval_us, per_minute]))
        if early_us:
            raise rate_limited(per_minute, round(early_us * 1e3))

    async def start(self) -> None:
        """Read the keys, and follow their changes from then on."""
        if self._with_keys:
            await self._read_keys()
            self._following = asyncio.create_task(self._follow_keys())

    async def close(self) -> None:
        if self._following:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._redis.aclose()

    async def _read_keys(self) -> None:
        """Read the set; members that are not a SHA-256 in hexadecimal are ignored."""
        members = await self._breaker.call(lambda: cast("Awaitable[set[str]]", self._redis.smembers(_KEYS)))
        if members is not None:
            self.digests = frozenset(digest for text in members if (digest := _digest(text)))

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            await self._read_keys()


def _digest(text: str) -> bytes | None:
    with suppress(ValueError):
        if len(digest := bytes.fromhex(text)) == _DIGEST_BYTES:
            return digest
    return None
