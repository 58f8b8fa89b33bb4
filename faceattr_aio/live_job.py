"""A job in this process that is not over: what was ordered, how far it is, and who waits for it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from faceattr_aio.answers import Job, Progress
from faceattr_aio.documents import Document
from faceattr_aio.jobs import Order


@dataclass(eq=False)
class LiveJob:
    """`release` gives its room back."""

    id: str
    order: Order
    release: Callable[[], None]
    since: float = field(default_factory=time.monotonic)
    begun: float | None = None
    entries: dict[int, Document] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> Job:
        progress = Progress(done=len(self.entries), of=len(self.order.pictures))
        seconds = 0.0 if self.begun is None else time.monotonic() - self.begun
        return Job(
            id=self.id,
            status="queued" if self.begun is None else "running",
            pipeline=self.order.pipeline,
            progress=progress,
            processing_s=round(seconds, 6),
        )
