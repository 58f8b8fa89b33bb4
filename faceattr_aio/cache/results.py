"""What is known of pictures: looked up, computed once however many ask for it at a time, kept. Knows neither how a
result is computed nor where it is kept.
"""

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from faceattr_aio.cache.memory import Cache
from faceattr_aio.errors import DeadlineExceeded, FaceattrError, RetryableError
from faceattr_aio.pipeline import Outcome, Reply, Task

Flight = asyncio.Future[Outcome]
Work = Callable[[Sequence[Task]], Awaitable[list[Outcome]]]
"""Computes what is asked for, in its order."""


def make_key(digest: bytes, options: str, fingerprint: str) -> str:
    """The key of what is found in a picture of this SHA-256, with these options, by what has this fingerprint."""
    return hashlib.sha256(b"\0".join((digest, options.encode(), fingerprint.encode()))).hexdigest()


class Results:
    """Those in `cache`, and those that are being computed. Without a cache no picture should have a key."""

    def __init__(self, cache: Cache | None) -> None:
        self.cache = cache
        self._flights: dict[str, Flight] = {}

    async def close(self) -> None:
        """Gives back what the cache holds."""
        if self.cache:
            await self.cache.close()

    async def get(self, key: str) -> Reply | None:
        """The result, if it is known."""
        text = await self.cache.get(key) if self.cache else None
        result = _read(key, text) if text else None
        return None if result is None else Reply(result, source="hit")

    async def get_or_run(
        self, tasks: Sequence[Task | FaceattrError], keys: Sequence[str | None], work: Work, deadline: float
    ) -> list[Outcome]:
        """The outcomes of the pictures of one request, in their order: failures already, known, being computed for
        somebody else, or computed by `work`, which is called once or not at all. What has no key is computed.

        Raises what `work` does, and DeadlineExceeded.
        """
        outcomes = await self._known(tasks, keys)
        while missing := [number for number in range(len(tasks)) if number not in outcomes]:
            flights = [self._flights.get(keys[number] or "") for number in missing]
            under_way = {number: flight for number, flight in zip(missing, flights, strict=True) if flight}
            if len(under_way) == len(missing):
                outcomes |= await _follow(under_way, deadline)
            else:
                wanted = {n: task for n, task in enumerate(tasks) if n in missing and isinstance(task, Task)}
                outcomes |= await self._lead(wanted, keys, work)
        return [outcomes[number] for number in range(len(tasks))]

    async def _known(self, tasks: Sequence[Task | FaceattrError], keys: Sequence[str | None]) -> dict[int, Outcome]:
        known: dict[int, Outcome] = {}
        for number, (task, key) in enumerate(zip(tasks, keys, strict=True)):
            outcome = task if isinstance(task, FaceattrError) else key and await self.get(key)
            if outcome:
                known[number] = outcome
        return known

    async def _lead(self, tasks: Mapping[int, Task], keys: Sequence[str | None], work: Work) -> dict[int, Outcome]:
        """Computes, and lets others share in it."""
        ours = {key: asyncio.Future[Outcome]() for n in tasks if (key := keys[n]) and key not in self._flights}
        self._flights |= ours
        try:
            outcomes = dict(zip(tasks, await work(list(tasks.values())), strict=True))
            for number, outcome in outcomes.items():
                outcomes[number] = await self._share(keys[number], outcome, ours)
        finally:
            for key, flight in ours.items():
                del self._flights[key]
                flight.cancel()  # whoever waits for what did not come tries again
        return outcomes

    async def _share(self, key: str | None, outcome: Outcome, flights: Mapping[str, Flight]) -> Outcome:
        """Tells others, and keeps it; not what was only a matter of the moment."""
        if key is None or isinstance(outcome, RetryableError | DeadlineExceeded):
            return outcome
        if (flight := flights.get(key)) and not flight.done():
            flight.set_result(outcome)
        if self.cache and isinstance(outcome, Reply):
            await self.cache.put(key, json.dumps({"key": key, "result": outcome.result}))
            return replace(outcome, source="miss")
        return outcome


def _read(key: str, text: str) -> object:
    """The result that was kept under the key; None for what somebody else has put there."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document.get("result") if isinstance(document, dict) and document.get("key") == key else None


async def _follow(flights: Mapping[int, Flight], deadline: float) -> dict[int, Outcome]:
    """What comes of somebody else's work, but for what nothing came of. Raises DeadlineExceeded."""
    patience = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
    _, late = await asyncio.wait(flights.values(), timeout=patience)
    if late:
        raise DeadlineExceeded
    return {number: _shared(flight.result()) for number, flight in flights.items() if not flight.cancelled()}


def _shared(outcome: Outcome) -> Outcome:
    return replace(outcome, laps={}, source="collapsed") if isinstance(outcome, Reply) else outcome
