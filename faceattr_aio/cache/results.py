"""Results by key: look up in the cache, compute once for all concurrent requests (single flight), store."""

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from faceattr_aio.cache.memory import ResultCache
from faceattr_aio.errors import DeadlineExceeded, FaceattrError, RetryableError
from faceattr_aio.pipeline import Outcome, Reply, Task

Flight = asyncio.Future[Outcome]
"""A result that is being computed; cancelled when the computation gave nothing to share."""
Work = Callable[[Sequence[Task]], Awaitable[list[Outcome]]]
"""Compute the outcomes of the tasks, in their order."""


def make_key(digest: bytes, options: str, fingerprint: str) -> str:
    """The cache key for the SHA-256 of a picture, the options and the fingerprint of the models and settings."""
    return hashlib.sha256(b"\0".join((digest, options.encode(), fingerprint.encode()))).hexdigest()


class Results:
    """Results in `cache` and results that are being computed. Without a cache no picture should have a key."""

    def __init__(self, cache: ResultCache | None) -> None:
        self.cache = cache
        self._flights: dict[str, Flight] = {}

    async def close(self) -> None:
        """Close the cache."""
        if self.cache:
            await self.cache.close()

    async def get(self, key: str) -> Reply | None:
        """The cached result, or None."""
        text = await self.cache.get(key) if self.cache else None
        result = _decode(key, text) if text else None
        return None if result is None else Reply(result, source="hit")

    async def get_or_run(
        self, tasks: Sequence[Task | FaceattrError], keys: Sequence[str | None], work: Work, deadline: float
    ) -> list[Outcome]:
        """The outcomes of the pictures of one request, in their order.

        A picture that has failed already keeps its error. For the others, the result is taken from the cache or from
        another request that is computing it, or computed by `work`. A picture without a key is always computed.
        Raises what `work` raises, and DeadlineExceeded at `deadline` (monotonic clock).
        """
        if len(tasks) == 1 and keys[0] is None and isinstance(task := tasks[0], Task):
            return await work([task])
        outcomes = await self._find(tasks, keys)
        while missing := {n: task for n, task in enumerate(tasks) if isinstance(task, Task) and n not in outcomes}:
            flights = {n: flight for n in missing if (flight := self._flights.get(keys[n] or ""))}
            if len(flights) == len(missing):
                outcomes |= await _follow(flights, deadline)
            else:
                outcomes |= await self._lead(missing, keys, work)
        return [outcomes[n] for n in range(len(tasks))]

    async def _find(self, tasks: Sequence[Task | FaceattrError], keys: Sequence[str | None]) -> dict[int, Outcome]:
        """The outcomes that need no work: earlier errors and cached results."""
        found: dict[int, Outcome] = {}
        for n, (task, key) in enumerate(zip(tasks, keys, strict=True)):
            outcome = task if isinstance(task, FaceattrError) else key and await self.get(key)
            if outcome:
                found[n] = outcome
        return found

    async def _lead(self, tasks: Mapping[int, Task], keys: Sequence[str | None], work: Work) -> dict[int, Outcome]:
        """Compute the outcomes and share those with a key."""
        flights = {key: Flight() for n in tasks if (key := keys[n]) and key not in self._flights}
        self._flights |= flights
        try:
            outcomes = dict(zip(tasks, await work(list(tasks.values())), strict=True))
            for n, outcome in outcomes.items():
                if key := keys[n]:
                    outcomes[n] = await self._share(key, outcome, flights.get(key))
        finally:
            for key, flight in flights.items():
                del self._flights[key]
                flight.cancel()  # requests that still wait look up the key again
        return outcomes

    async def _share(self, key: str, outcome: Outcome, flight: Flight | None) -> Outcome:
        """Give the outcome to waiting requests and store a result, unless the failure is temporary."""
        if isinstance(outcome, RetryableError | DeadlineExceeded):
            return outcome
        if flight and not flight.done():
            flight.set_result(outcome)
        if self.cache and isinstance(outcome, Reply):
            await self.cache.put(key, json.dumps({"key": key, "result": outcome.result}))
            return replace(outcome, source="miss")
        return outcome


def _decode(key: str, text: str) -> object:
    """The result in a cached text; None when the text was not stored under this key by `_share`."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document.get("result") if isinstance(document, dict) and document.get("key") == key else None


async def _follow(flights: Mapping[int, Flight], deadline: float) -> dict[int, Outcome]:
    """Wait for other requests and return the outcomes that they share. Raises DeadlineExceeded."""
    timeout = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
    _, pending = await asyncio.wait(flights.values(), timeout=timeout)
    if pending:
        raise DeadlineExceeded
    shared = {n: flight.result() for n, flight in flights.items() if not flight.cancelled()}
    return {n: replace(o, laps={}, source="collapsed") if isinstance(o, Reply) else o for n, o in shared.items()}
