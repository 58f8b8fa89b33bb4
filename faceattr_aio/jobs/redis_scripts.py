"""The steps in which a job in Redis changes, each at once or not at all. Knows not who takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faceattr_aio.jobs.redis_store import (
    BYTES,
    DUE,
    ENDED,
    LIVE,
    OVER,
    PENDING_S,
    RUNNING,
    TELL,
    ItemKey,
    Meta,
    job_key,
)


@dataclass(frozen=True)
class Script:
    """A script, with its keys and arguments: `await redis.eval(*step.words)`, or without await."""

    script: str
    keys: Sequence[str]
    arguments: Sequence[Any]

    @property
    def words(self) -> tuple[Any, ...]:
        return (self.script, len(self.keys), *self.keys, *self.arguments)


NO_BYTES = -2
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


@dataclass(frozen=True)
class JobLimits:
    """Jobs that are not over, and bytes of their pictures."""

    jobs: int
    bytes: int


def accept(identity: str, meta: Meta, pictures: Sequence[bytes], most: JobLimits, now: float, due: float) -> Script:
    """Gives -1; when there are as many as there may be, how many there are; and NO_BYTES when pictures have no room,
    as those of the first always have. An empty picture comes to nothing.
    """
    places = [ItemKey(identity, number).picture for number in range(len(pictures))]
    words = (most.jobs, now, PENDING_S, meta.model_dump_json(), identity, due, most.bytes, *pictures)
    return Script(_ACCEPT, (LIVE, DUE, job_key(identity), BYTES, *places), words)


_CLAIM = """
if redis.call('HEXISTS', KEYS[1], 'meta') == 0 or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
    redis.call('ZREM', KEYS[4], ARGV[5] .. ':' .. ARGV[1])
    return {}
end
if not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return {} end
redis.call('HSETNX', KEYS[1], 'begun', ARGV[4])
redis.call('SADD', KEYS[5], ARGV[5])
local tries = redis.call('HINCRBY', KEYS[1], 'tries:' .. ARGV[1], 1)
return {redis.call('HGET', KEYS[1], 'meta'), redis.call('GET', KEYS[3]) or '', tries}
"""


def claim(place: ItemKey, token: str, visible_ms: int, now: float) -> Script:
    """Gives meta, picture, and how often it was begun; nothing when it needs no work, or has somebody at it."""
    keys = (job_key(place.job), place.lease, place.picture, DUE, RUNNING)
    return Script(_CLAIM, keys, (place.number, token, visible_ms, now, place.job))


_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
"""


def renew(place: ItemKey, token: str, visible_ms: int) -> Script:
    """Whose it is keeps it for as long again."""
    return Script(_RENEW, (place.lease,), (token, visible_ms))


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


def finish(place: ItemKey, meta: Meta, outcome: str, how: str, now: float) -> Script:
    """Gives 1 for the first outcome of a picture, which stays, and 0 for every later one. `how` the job has ended if it
    was the last.
    """
    keys = (job_key(place.job), place.lease, place.picture, LIVE, DUE, ENDED, TELL, RUNNING, OVER, BYTES)
    words = (place.job, place.number, outcome, meta.of, how, now, max(1, round(meta.keep_s)), int(bool(meta.callback)))
    return Script(_FINISH, keys, words)


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


def remove(identity: str, of: int, how: str) -> Script:
    """Forgets a job of so many pictures; one that was not over has ended thus."""
    pictures = [ItemKey(identity, number).picture for number in range(of)]
    return Script(_REMOVE, (job_key(identity), LIVE, DUE, ENDED, RUNNING, OVER, BYTES, *pictures), (identity, how))
