"""Measures one running instance from outside in some seconds: each picture alone, full load, and four times that."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import mean, median

from aiohttp import ClientSession

from bench.speed import ceiling
from bench.stress.instance import Size
from bench.stress.model import Observed
from bench.stress.picture_mix import PictureMix
from bench.stress.usl import Point
from bench.support.openloop import offer, post, saturate, session
from bench.support.served import Server

OVERLOAD = 4
_TYPE = "application/octet-stream"
_OUTSIDE = {"upload", "queue"}
"""Stages of `Server-Timing` outside the worker."""
_WARM_UP = 10


async def observe(server: Server, path: str, size: Size, mix: PictureMix, seconds: float) -> Observed:
    """Observe one instance; takes about three times `seconds`. The load uses the first picture of the mix."""
    url = server.url + path
    async with session() as client:
        alone = [await _alone(client, url, body, seconds / len(mix)) for _, body in mix]
        ask = partial(post, client, url, mix[0][1], _TYPE)
        spent, record = server.cpu_s(), await saturate(ask, size.workers + 1, seconds)
        done = record.counts["200"]
        accept_s = (server.cpu_s() - spent) / done
        spent, record = server.cpu_s(), await offer(ask, OVERLOAD * done / seconds, seconds)
        over_s = server.cpu_s() - spent - record.counts["200"] * accept_s
    work = mean(inside for inside, _ in alone[0])
    held = work + accept_s * size.workers / size.cores
    return Observed(
        tuple(picture for picture, _ in mix),
        tuple(tuple(inside for inside, _ in seen) for seen in alone),
        accept_s,
        refuse_s=max(0.0, over_s) / max(1, record.counts["503"]),
        handover_s=max(0.0, size.workers * seconds / done - held),
        round_trip_s=max(0.0, median(outside for _, outside in alone[0]) - accept_s),
    )


async def _alone(client: ClientSession, url: str, body: bytes, seconds: float) -> list[tuple[float, float]]:
    """For each of several requests, one after another: seconds in the worker, and in all other places."""
    seen: list[tuple[float, float]] = []
    while len(seen) <= _WARM_UP or sum(map(sum, seen[_WARM_UP:])) < seconds:
        began = time.perf_counter()
        async with client.post(url, data=body, headers={"Content-Type": _TYPE}) as response:
            await response.read()
        whole, stages = time.perf_counter() - began, _stages(response.headers["Server-Timing"])
        inside = sum(spent for stage, spent in stages.items() if stage not in _OUTSIDE)
        seen.append((inside, whole - inside))
    return seen[_WARM_UP:]


def _stages(timing: str) -> dict[str, float]:
    """Seconds by stage."""
    parts = (part.strip().partition(";dur=") for part in timing.split(","))
    return {name: float(ms) / 1e3 for name, _, ms in parts}


def by_cores(seconds: float) -> tuple[Point, ...]:
    """Pictures a second of the pipeline alone on 1, 2, 4, ... and all cores that this process may use, at the same
    time.
    """
    cores = sorted(os.sched_getaffinity(0))
    numbers = sorted({2**power for power in range(len(cores).bit_length()) if 2**power <= len(cores)} | {len(cores)})
    return tuple((number, _together(cores[:number], seconds)) for number in numbers)


def _together(cores: list[int], seconds: float) -> float:
    with ThreadPoolExecutor(len(cores)) as threads:
        return sum(threads.map(partial(ceiling.measure, seconds), cores))
