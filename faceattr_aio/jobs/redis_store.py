"""Jobs in Redis: keys, stored data, and the Lua scripts that change a job in one step.

Each function that builds a script returns the arguments of `redis.eval`, for the blocking and for the asyncio client.
`DUE` holds each accepted picture until it has a result, so that a lost message or a killed worker loses nothing.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel

from faceattr_aio.errors import FaceattrError
from faceattr_aio.jobs.model import DONE, FAILED, Submission, conclude, describe
from faceattr_aio.pipeline import Outcome, Task
from faceattr_aio.schemas import Job, picture_body

PENDING_S = 86_400
"""Seconds after which a job that has not ended expires with its pictures."""
MESSAGE, QUEUE = "faceattr.picture", "faceattr"
"""Name of the Celery task for one picture, and of the queue of its messages."""
LIVE, RUNNING = "faceattr:jobs:live", "faceattr:jobs:running"
"""Jobs that have not ended, by the time they were accepted (sorted set); those of them that were started (set)."""
DUE = "faceattr:jobs:due"
"""Pictures without a result, by the time from which a worker sends a new message for them (sorted set)."""
BYTES = "faceattr:jobs:bytes"
"""Bytes of the stored pictures."""
ENDED, CALLBACKS, OVER = "faceattr:jobs:ended", "faceattr:jobs:tell", "faceattr:jobs:over"
"""Number of jobs by end (hash); ended jobs with a callback (list); channel for the ids of ended jobs."""
SWEEPING = "faceattr:jobs:sweeping"
"""Exists while a worker looks for overdue pictures."""
STORAGE_FULL = -2
"""Returned by `accept` when the bytes of the pictures are not available."""
Script = tuple[Any, ...]


class JobMeta(BaseModel, frozen=True):
    """The stored data of a submission, without the pictures; `options` is JSON."""

    request: str
    pipeline: str
    owner: str
    callback: str
    of: int
    options: str
    keep_s: float


@dataclass(frozen=True)
class ItemKey:
    """One picture of a job, and its keys."""

    job: str
    number: int

    @classmethod
    def parse(cls, member: str) -> Self:
        """Parse a member of `DUE`. Raises ValueError."""
        job, _, number = member.rpartition(":")
        return cls(job, int(number))

    @property
    def member(self) -> str:
        return f"{self.job}:{self.number}"

    @property
    def picture(self) -> str:
        return f"faceattr:picture:{self.member}"

    @property
    def lease(self) -> str:
        """Exists while a worker processes the picture."""
        return f"faceattr:lease:{self.member}"


def job_key(identity: str) -> str:
    """Return the key of the hash of a job: `meta`, `begun`, `ended`, `done` and, by number, tries and results."""
    return f"faceattr:job:{identity}"


def now() -> float:
    """Return the seconds since 1970. The clocks of all servers and workers have to agree within a few seconds."""
    return time.time()  # noqa: TID251  # a point in time


def make_meta(submission: Submission, keep_s: float) -> JobMeta:
    """Return the stored data of a submission. Its pictures all have the same options."""
    tasks = [item.task for item in submission.items if isinstance(item.task, Task)]
    return JobMeta(
        request=submission.request,
        pipeline=submission.pipeline,
        owner=submission.owner,
        callback=submission.callback,
        of=len(submission.items),
        options=tasks[0].options.model_dump_json() if tasks and tasks[0].options else "{}",
        keep_s=keep_s,
    )


def read_job(identity: str, meta: JobMeta, stored: Mapping[str, str]) -> Job:
    """Return the job from its hash."""
    begun, ended = float(stored.get("begun", 0)), float(stored.get("ended", 0))
    seconds = (ended or now()) - begun if begun else None
    job = describe(identity, meta.pipeline, int(stored["done"]), meta.of, seconds)
    if job.progress.done < meta.of:
        return job
    return conclude(job, meta.request, [json.loads(stored[str(number)]) for number in range(meta.of)])


def end_of(meta: JobMeta, outcome: Outcome) -> str:
    """Return how the job ends if this is the outcome of its last picture."""
    return FAILED if meta.of == 1 and isinstance(outcome, FaceattrError) else DONE


_ACCEPT = """
local now, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
local live, bytes = redis.call('ZCARD', KEYS[1]), 0
if live >= tonumber(ARGV[1]) then return live end
for at = 5, #KEYS do bytes = bytes + #ARGV[at + 3] end
if live == 0 then redis.call('SET', KEYS[4], 0) end
if live > 0 and bytes + (redis.call('GET', KEYS[4]) or 0) > tonumber(ARGV[7]) then return -2 end
redis.call('INCRBY', KEYS[4], bytes)
redis.call('ZADD', KEYS[1], now, ARGV[5])
redis.call('HSET', KEYS[3], 'meta', ARGV[4], 'done', 0)
redis.call('EXPIRE', KEYS[3], ttl)
for at = 5, #KEYS do
    redis.call('ZADD', KEYS[2], ARGV[6], ARGV[5] .. ':' .. (at - 5))
    if ARGV[at + 3] ~= '' then redis.call('SET', KEYS[at], ARGV[at + 3], 'EX', ttl) end
end
return -1
"""


def accept(
    identity: str, meta: JobMeta, pictures: Sequence[bytes], max_jobs: int, max_bytes: int, visibility_s: float
) -> Script:
    """Store a job of at least one picture; a picture that was refused is empty, and gets its result from the caller.

    Returns -1 on success, the number of jobs when it is `max_jobs`, or `STORAGE_FULL`. The bytes are not limited when
    there is no other job.
    """
    keys = (LIVE, DUE, job_key(identity), BYTES, *_picture_keys(identity, len(pictures)))
    arguments = (max_jobs, now(), PENDING_S, meta.model_dump_json(), identity, now() + visibility_s, max_bytes)
    return _script(_ACCEPT, keys, *arguments, *pictures)


_CLAIM = """
if redis.call('HEXISTS', KEYS[1], 'meta') == 0 or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
    redis.call('ZREM', KEYS[4], ARGV[4] .. ':' .. ARGV[1])
    return {}
end
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[2]) then return {} end
redis.call('HSETNX', KEYS[1], 'begun', ARGV[3])
redis.call('SADD', KEYS[5], ARGV[4])
local tries = redis.call('HINCRBY', KEYS[1], 'tries:' .. ARGV[1], 1)
return {redis.call('HGET', KEYS[1], 'meta'), redis.call('GET', KEYS[3]) or '', tries}
"""


def claim(item: ItemKey, lease_ms: int) -> Script:
    """Start a picture and lease it to the caller.

    Returns the meta data, the picture and the number of this try; nothing when the picture has a result or a lease.
    """
    keys = (job_key(item.job), item.lease, item.picture, DUE, RUNNING)
    return _script(_CLAIM, keys, item.number, lease_ms, now(), item.job)


_FINISH = """
if redis.call('HEXISTS', KEYS[1], 'meta') == 0 or redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) == 0 then return 0 end
redis.call('DECRBY', KEYS[10], redis.call('STRLEN', KEYS[3]))
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('ZREM', KEYS[5], ARGV[1] .. ':' .. ARGV[2])
if redis.call('HINCRBY', KEYS[1], 'done', 1) == tonumber(ARGV[4]) then
    redis.call('HSET', KEYS[1], 'ended', ARGV[6])
    redis.call('EXPIRE', KEYS[1], ARGV[7])
    redis.call('ZREM', KEYS[4], ARGV[1])
    redis.call('SREM', KEYS[8], ARGV[1])
    redis.call('HINCRBY', KEYS[6], ARGV[5], 1)
    if ARGV[8] == '1' then redis.call('LPUSH', KEYS[7], ARGV[1]) end
    redis.call('PUBLISH', KEYS[9], ARGV[1])
end
return 1
"""


def finish(item: ItemKey, meta: JobMeta, outcome: Outcome) -> Script:
    """Store the outcome of a picture. Returns 1 for the first outcome; later ones change nothing and return 0."""
    keys = (job_key(item.job), item.lease, item.picture, LIVE, DUE, ENDED, CALLBACKS, RUNNING, OVER, BYTES)
    body, keep_s = json.dumps(picture_body(outcome, meta.request)), max(1, round(meta.keep_s))
    result = (item.job, item.number, body, meta.of, end_of(meta, outcome))
    return _script(_FINISH, keys, *result, now(), keep_s, int(bool(meta.callback)))


_REMOVE = """
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[4], ARGV[2], 1) end
redis.call('SREM', KEYS[5], ARGV[1])
for at = 8, #KEYS do
    redis.call('DECRBY', KEYS[7], redis.call('STRLEN', KEYS[at]))
    redis.call('DEL', KEYS[at])
    redis.call('ZREM', KEYS[3], ARGV[1] .. ':' .. (at - 8))
end
redis.call('PUBLISH', KEYS[6], ARGV[1])
return 1
"""


def remove(identity: str, of: int, end: str) -> Script:
    """Delete a job of `of` pictures and count `end` if it had not ended. Returns 0 when there was no job."""
    keys = (job_key(identity), LIVE, DUE, ENDED, RUNNING, OVER, BYTES, *_picture_keys(identity, of))
    return _script(_REMOVE, keys, identity, end)


def _picture_keys(identity: str, of: int) -> list[str]:
    return [ItemKey(identity, number).picture for number in range(of)]


def _script(text: str, keys: Sequence[str], *arguments: object) -> Script:
    return (text, len(keys), *keys, *arguments)
