"""The way of each pipeline's requests to the workers: its slots, the threads that wait for workers, and its turn. All
go one way but those that have a portion. Knows no event loop and no pipeline.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.admission.quotas import Quota
from faceattr_aio.inference.batch import BatchThreads, no_wait


@dataclass(frozen=True)
class Lane:
    """`turn` is waited for before a worker is."""

    limiter: Limiter
    threads: BatchThreads
    turn: Callable[[float], AbstractContextManager[None]] = no_wait


class Quotas:
    """By the name of the pipeline, for `shares` of what `limiter` has; there are at most `max_workers` ever."""

    def __init__(self, limiter: Limiter, shares: Mapping[str, float], max_workers: int) -> None:
        self._max_workers = max_workers
        whole = Lane(limiter, BatchThreads(max_workers, "faceattr-worker"))
        portions = {name: Quota(limiter, share, f"requests for {name}") for name, share in shares.items() if share < 1}
        self._portions = tuple(portions.values())
        self._lanes = {name: self._lane(portions[name]) if name in portions else whole for name in shares}
        self._all = (whole, *(self._lanes[name] for name in portions))

    def __getitem__(self, name: str) -> Lane:
        return self._lanes[name]

    def fit(self) -> None:
        """Portions of what there is now."""
        for portion in self._portions:
            portion.fit()

    def shutdown(self, *, wait: bool, cancel: bool = False) -> None:
        """Begins no more work; with `cancel` none that waits, and with `wait` it returns when all is over."""
        for lane in self._all:
            lane.threads.shutdown(wait=wait, cancel_futures=cancel)

    def _lane(self, portion: Quota) -> Lane:
        return Lane(portion, BatchThreads(self._max_workers, "faceattr-portion"), portion.turn)
