"""What one client may have while others want something too: its share of the slots, and so many requests a minute.
Knows no HTTP and not what a client is: a name is enough.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import RateLimited

MINUTE_NS = 60 * 10**9
_MOST_CLIENTS = 4096
"""So many are remembered at a time, however many ask."""


class ClientConcurrency:
    """At most this `share` of a limiter's slots for one client, rounded up; counted apart from the limiter, which
    decides for itself.
    """

    def __init__(self, limiter: Limiter, share: float, what: str) -> None:
        self.share = share
        self._limiter = limiter
        self._what = what
        self._lock = threading.Lock()
        self._held: dict[str, set[object]] = {}

    def check(self, client: str) -> None:
        """Whether the client may have one more, without taking it. Raises RateLimited."""
        if len(self._held.get(client, ())) >= self.share * self._limiter.limit:
            raise self._refusal()

    def acquire(self, client: str) -> Callable[[], None]:
        """Takes one and returns its release, which is called from any thread, once. Raises RateLimited."""
        slot = object()
        with self._lock:
            self.check(client)
            held = self._held.setdefault(client, set())
            held.add(slot)

        def release() -> None:
            with self._lock:
                held.remove(slot)
                if not held:
                    del self._held[client]

        return release

    @property
    def in_use(self) -> dict[str, int]:
        """Number of slots that each client holds; clients without slots are absent."""
        with self._lock:
            return {client: len(slots) for client, slots in self._held.items()}

    def _refusal(self) -> RateLimited:
        wait_s = self._limiter.wait_s
        most = math.ceil(self.share * self._limiter.limit)
        said = f"{most} of your {self._what}, as many as one client may have at a time; try again later."
        return RateLimited(said, retry_after_s=wait_s, retry_after_ms=round(wait_s * 1e3))


class RateLimiter:
    """`per_minute` requests a minute for one client, on average; as many may come at once (GCRA).

    A client is remembered until it could have all of them at once again. Above so many clients those are forgotten that
    were nearest to it, never the greediest.
    """

    def __init__(self, per_minute: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.per_minute = per_minute
        self._interval = -(-MINUTE_NS // per_minute)
        self._clock = clock
        self._recovered: dict[str, int] = {}
        """When each client has all its requests again, in ns of the clock."""

    def check(self, client: str) -> None:
        """Whether the client may make one more request. Raises RateLimited, which costs nothing."""
        self._after_one_more(client)

    def count(self, client: str) -> None:
        """Takes one request into account. Raises RateLimited."""
        self._recovered[client] = self._after_one_more(client)
        if len(self._recovered) > _MOST_CLIENTS:
            self._forget()

    def _after_one_more(self, client: str) -> int:
        now = self._clock()
        recovered = max(now, self._recovered.get(client, now)) + self._interval
        early = recovered - now - self.per_minute * self._interval
        if early > 0:
            raise too_early(self.per_minute, early)
        return recovered

    def _forget(self) -> None:
        """Half of them at once, so that it happens seldom."""
        latest = sorted(self._recovered.items(), key=lambda entry: entry[1])[_MOST_CLIENTS // 2 :]
        now = self._clock()
        self._recovered = {client: when for client, when in latest if when > now}


def too_early(per_minute: int, early_ns: int) -> RateLimited:
    """The refusal of a request that comes by so much too early."""
    said = f"One client may make {per_minute} requests a minute; try again in {early_ns / 1e9:.1f} s."
    return RateLimited(said, retry_after_s=early_ns / 1e9, retry_after_ms=-(-early_ns // 10**6))


class Elsewhere(Protocol):
    """Where requests are counted for several servers together."""

    async def count(self, client: str, per_minute: int) -> None: ...


class ClientLimits:
    """All that bounds one client. A request counts for the rate when its body begins to be read: one that is refused by
    its headers costs nothing.
    """

    def __init__(
        self,
        slots: ClientConcurrency,
        uploads: ClientConcurrency,
        rate: RateLimiter | None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Where there is an `elsewhere`, requests are counted there too."""
        self._slots = slots
        self._uploads = uploads
        self._rate = rate
        self._elsewhere = elsewhere

    @property
    def enabled(self) -> bool:
        """Whether there is any limit."""
        return self._rate is not None or self._slots.share != math.inf

    def change(self, share: float, per_minute: int | None) -> None:
        """Other bounds from now on; who has more than its share keeps it until the work is over."""
        self._slots.share = self._uploads.share = share
        if per_minute != (self._rate and self._rate.per_minute):
            self._rate = RateLimiter(per_minute) if per_minute else None

    def check(self, client: str) -> None:
        """Whether a newcomer may come in. Raises RateLimited."""
        if self._rate:
            self._rate.check(client)
        self._uploads.check(client)
        self._slots.check(client)

    async def count(self, client: str) -> None:
        """Counts a request. Raises RateLimited."""
        if self._rate:
            self._rate.count(client)
            if self._elsewhere:
                await self._elsewhere.count(client, self._rate.per_minute)

    @contextmanager
    def upload(self, client: str) -> Iterator[None]:
        """Counts an upload while it lasts. Raises RateLimited."""
        release = self._uploads.acquire(client)
        try:
            yield
        finally:
            release()

    def acquire(self, client: str) -> Callable[[], None]:
        """Takes one of the client's slots and returns its release, for any thread. Raises RateLimited."""
        return self._slots.acquire(client)

    @property
    def in_use(self) -> tuple[dict[str, int], dict[str, int]]:
        """Number of slots and number of uploads that each client holds."""
        return self._slots.in_use, self._uploads.in_use
