"""Limits for one client: its share of the slots, and its requests per minute. A client is a name, such as an address or
an API key's id.
"""

import math
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from operator import itemgetter

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import RateLimited

MINUTE_NS = 60 * 10**9
_MAX_CLIENTS = 4096
"""Clients that a rate limiter remembers at most."""


class ClientConcurrency:
    """At most this `share` of a limiter's slots for one client, rounded up. Thread-safe.

    The slots are counted apart from the limiter, which still decides for itself. `what` completes the refusal: "2 of
    your `what`".
    """

    def __init__(self, limiter: Limiter, share: float, what: str) -> None:
        self.share = share
        self._limiter = limiter
        self._what = what
        self._lock = threading.Lock()
        self._held: dict[str, set[object]] = {}

    def check(self, client: str) -> None:
        """Check that the client could acquire one more slot, without acquiring it. Raises RateLimited."""
        if len(self._held.get(client, ())) >= self.share * self._limiter.limit:
            wait_s = self._limiter.wait_s
            most = math.ceil(self.share * self._limiter.limit)
            detail = f"{most} of your {self._what}, which is the limit for one client; try again later."
            raise RateLimited(detail, retry_after_s=wait_s, retry_after_ms=round(wait_s * 1e3))

    def acquire(self, client: str) -> Callable[[], None]:
        """Acquire a slot and return its release, which is called once, from any thread. Raises RateLimited."""
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


class RateLimiter:
    """`per_minute` requests a minute for one client on average, and as many in one burst (GCRA). Not thread-safe.

    A client is remembered until its whole burst is available again. When there are too many clients, those closest to
    that point are forgotten first, so a client that exceeds its rate is not forgotten.
    """

    def __init__(self, per_minute: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.per_minute = per_minute
        self._interval = -(-MINUTE_NS // per_minute)
        self._clock = clock
        self._recovered: dict[str, int] = {}
        """The time at which the whole burst of each client is available again, in ns of the clock."""

    def check(self, client: str) -> None:
        """Check that the client may make one more request, without counting it. Raises RateLimited."""
        self._after_one_more(client)

    def count(self, client: str) -> None:
        """Count one request. Raises RateLimited; a refused request does not count."""
        self._recovered[client] = self._after_one_more(client)
        if len(self._recovered) > _MAX_CLIENTS:
            self._forget()

    def _after_one_more(self, client: str) -> int:
        now = self._clock()
        recovered = max(now, self._recovered.get(client, now)) + self._interval
        early = recovered - now - self.per_minute * self._interval
        if early > 0:
            raise rate_limited(self.per_minute, early)
        return recovered

    def _forget(self) -> None:
        """Forget half of the clients at once, so that it happens seldom."""
        latest = sorted(self._recovered.items(), key=itemgetter(1))[_MAX_CLIENTS // 2 :]
        now = self._clock()
        self._recovered = {client: when for client, when in latest if when > now}


def rate_limited(per_minute: int, early_ns: int) -> RateLimited:
    """The refusal of a request that came `early_ns` nanoseconds too early."""
    detail = f"One client may make {per_minute} requests a minute; try again in {early_ns / 1e9:.1f} s."
    return RateLimited(detail, retry_after_s=early_ns / 1e9, retry_after_ms=-(-early_ns // 10**6))


class ClientLimits:
    """All limits for one client. A request counts for the rate when its body begins to be read: a request that is
    refused because of its headers does not count. `count_shared` counts one for a client and its rate per minute, for
    several servers together.
    """

    def __init__(
        self,
        slots: ClientConcurrency,
        uploads: ClientConcurrency,
        rate: RateLimiter | None,
        count_shared: Callable[[str, int], Awaitable[None]] | None = None,
    ) -> None:
        self.slots = slots
        self.uploads = uploads
        self._rate = rate
        self._count_shared = count_shared
        self.enabled: bool = rate is not None or slots.share != math.inf
        """False when nothing is limited; then no request needs to be checked or counted."""

    def change(self, share: float, per_minute: int | None) -> None:
        """Set other limits; slots above a lower share are kept until the work is over."""
        self.slots.share = self.uploads.share = share
        if per_minute != (self._rate and self._rate.per_minute):
            self._rate = RateLimiter(per_minute) if per_minute else None
        self.enabled = self._rate is not None or share != math.inf

    def check(self, client: str) -> None:
        """Check that the client may make a request now. Raises RateLimited."""
        if self._rate:
            self._rate.check(client)
        self.uploads.check(client)
        self.slots.check(client)

    async def count(self, client: str) -> None:
        """Count a request. Raises RateLimited."""
        if self._rate:
            self._rate.count(client)
            if self._count_shared:
                await self._count_shared(client, self._rate.per_minute)

    def upload(self, client: str) -> ExitStack:
        """Count an upload until the returned stack is closed. Raises RateLimited."""
        counted = ExitStack()
        counted.callback(self.uploads.acquire(client))
        return counted
