"""Where jobs lie in Redis, and what is written there. What is accepted is in `DUE` until it has its result: whatever
becomes of messages, workers and servers, somebody finds it there. Knows neither who takes jobs in nor who works on
them.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from faceattr_aio.jobs.model import Submission, conclude
from faceattr_aio.pipeline import Task
from faceattr_aio.schemas import Job, Progress

PENDING_S = 86_400
"""For so long a job may wait; then its pictures are gone."""
MESSAGE = "faceattr.picture"
QUEUE = "faceattr"
LIVE, RUNNING = "faceattr:jobs:live", "faceattr:jobs:running"
"""Jobs that are not over, by when they came; and those of them that were begun."""
DUE = "faceattr:jobs:due"
"""Pictures without a result, by when somebody has to look after them."""
BYTES = "faceattr:jobs:bytes"
"""Of pictures that lie here."""
ENDED, TELL, OVER = "faceattr:jobs:ended", "faceattr:jobs:tell", "faceattr:jobs:over"
"""How many ended how; those whose callbacks are to be told; where the end of each is announced."""
SWEEPING = "faceattr:jobs:sweeping"


class Meta(BaseModel):
    """What of an order is not a picture; `options` are JSON."""

    model_config = ConfigDict(frozen=True)

    request: str
    pipeline: str
    owner: str
    callback: str
    of: int
    options: str
    keep_s: float


@dataclass(frozen=True)
class ItemKey:
    """Where one picture of a job is."""

    job: str
    number: int

    @property
    def member(self) -> str:
        return f"{self.job}:{self.number}"

    @property
    def picture(self) -> str:
        return f"faceattr:picture:{self.member}"

    @property
    def lease(self) -> str:
        """There while a worker is at it."""
        return f"faceattr:lease:{self.member}"


def job_key(identity: str) -> str:
    """The hash of a job: its meta, when it was begun and ended, how many are done, and each outcome by its number. The
    id is the client's word: a key of ours alone is made of it.
    """
    return f"faceattr:job:{identity}" if identity.isascii() else f"faceattr:none:{_digest(identity)}"


def item_key(member: str) -> ItemKey:
    job, _, number = member.rpartition(":")
    return ItemKey(job, int(number))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def meta_of(order: Submission, keep_s: float) -> Meta:
    """All its pictures have the same options."""
    tasks = [picture.task for picture in order.pictures if isinstance(picture.task, Task)]
    return Meta(
        request=order.request,
        pipeline=order.pipeline,
        owner=order.owner,
        callback=order.callback,
        of=len(order.pictures),
        options=tasks[0].options.model_dump_json() if tasks and tasks[0].options else "{}",
        keep_s=keep_s,
    )


def read_job(identity: str, meta: Meta, known: Mapping[str, str]) -> Job:
    """The job as its hash has it."""
    begun, ended = float(known.get("begun", 0)), float(known.get("ended", 0))
    job = Job(
        id=identity,
        status="running" if begun else "queued",
        pipeline=meta.pipeline,
        progress=Progress(done=int(known["done"]), of=meta.of),
        processing_s=round(max(0.0, (ended or now()) - begun), 6) if begun else 0.0,
    )
    if job.progress.done < meta.of:
        return job
    return conclude(job, meta.request, [json.loads(known[str(number)]) for number in range(meta.of)])


def now() -> float:
    """Seconds since 1970, about which all machines have to agree by and large."""
    return time.time()  # noqa: TID251  # a point in time
