"""Measures one server from its start to its end: start-up time, and its answers to one client, to four, and at five
times its capacity. Every wait has a time limit.
"""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from aiohttp import ClientError, ClientSession

from bench.peers.catalogue import Peer
from bench.support.openloop import PATIENCE_S, Ask, Record, offer, post, saturate, session
from bench.support.served import Server, start_program

CLIENTS, OVERLOAD = 4, 5
START_PATIENCE_S = 60.0
WARM_UP_S, LOOK_S = 1.0, 0.02
SLACK_S = 5.0
REFUSED, RESET = "refused", "reset"
KINDS = {"503": REFUSED, "429": REFUSED} | dict.fromkeys(
    ("ServerDisconnectedError", "ClientOSError", "ClientConnectionResetError", "ConnectionResetError"), RESET
)
QUIETLY = {"BENTOML_DO_NOT_TRACK": "True"}


class PeerFailedError(Exception):
    """A server could not be measured; the message has the reason."""


@dataclass(frozen=True)
class Point:
    """The offered rate, the pictures a second that were answered within the time, and the record of all outcomes,
    including those after the end.
    """

    offered: float
    goodput: float
    record: Record

    def others(self) -> dict[str, int]:
        """Outcomes other than an answer, a refusal or a reset."""
        return {kind: count for kind, count in self.record.counts.items() if kind not in ("200", REFUSED, RESET)}


@dataclass(frozen=True)
class Measured:
    """One round of one server: seconds until its first answer, three points, bytes of memory after the last."""

    start_s: float
    alone: Point
    full: Point
    over: Point
    memory: int


async def measure(peer: Peer, core: int, waiting: int, seconds: float) -> Measured:
    """Start the server on that core with the given limit of waiting requests, measure it and stop it. Raises
    PeerFailedError.
    """
    async with _started(peer, core, waiting) as (server, start_s):
        await _same_answer(peer, server)
        return await _measure_points(peer, server, start_s, seconds)


async def _measure_points(peer: Peer, server: Server, start_s: float, seconds: float) -> Measured:
    def closed(clients: int, for_s: float) -> Awaitable[Point]:
        return _point(peer, server, lambda ask: saturate(ask, clients, for_s), for_s, 0)

    await closed(CLIENTS, min(WARM_UP_S, seconds))
    alone, full = await closed(1, seconds), await closed(CLIENTS, seconds)
    rate = OVERLOAD * full.goodput
    over = await _point(peer, server, lambda ask: offer(ask, rate, seconds), seconds, rate)
    return Measured(start_s, alone, full, over, server.proportional())


async def _point(
    peer: Peer, server: Server, load: Callable[[Ask], Awaitable[Record]], seconds: float, offered: float
) -> Point:
    """One measurement with its own connections; an answer counts as goodput if it arrives within the time."""
    end = asyncio.get_running_loop().time() + seconds
    answered = 0
    async with session() as client:

        async def ask() -> str:
            nonlocal answered
            outcome = await _post(client, server, peer)
            answered += outcome == "200" and asyncio.get_running_loop().time() <= end
            return KINDS.get(outcome, outcome)

        try:
            async with asyncio.timeout(seconds + PATIENCE_S + SLACK_S):
                record = await load(ask)
        except TimeoutError:
            raise PeerFailedError(f"a measurement of {seconds:g} s did not end") from None
    return Point(offered, answered / seconds, record)


@asynccontextmanager
async def _started(peer: Peer, core: int, waiting: int) -> AsyncIterator[tuple[Server, float]]:
    """Yield the server once it has answered, and the seconds that took."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, tempfile.TemporaryFile("w+") as log:
        folder, port, began = Path(name), _free_port(), asyncio.get_running_loop().time()
        more = QUIETLY | {"PEERS_WAITING": str(waiting), "BENTOML_HOME": name}
        server = start_program(peer.command(port, folder), f"http://127.0.0.1:{port}", folder, more, {core}, log)
        try:
            async with session() as client:
                await _first_answer(partial(_post, client, server, peer), server, log)
            yield server, asyncio.get_running_loop().time() - began
        finally:
            server.kill_all()


async def _first_answer(ask: Ask, server: Server, log: IO[str]) -> None:
    outcome = "nothing"
    try:
        async with asyncio.timeout(START_PATIENCE_S):
            while (outcome := await ask()) != "200":
                if server.process.poll() is not None:
                    raise PeerFailedError(f"did not start: {_last_line(log)}")
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise PeerFailedError(
            f"no answer within {START_PATIENCE_S:g} s; last outcome: {outcome}; {_last_line(log)}"
        ) from None


async def _same_answer(peer: Peer, server: Server) -> None:
    """Check that the one face of the picture is found. Raises PeerFailedError."""
    headers = {"Content-Type": peer.upload.content_type}
    try:
        async with session() as client, client.post(_url(server), data=peer.upload.body, headers=headers) as response:
            (face,) = (await response.json())["faces"]
            assert {"box", "gender", "age"} <= face.keys()
    except (ClientError, OSError, TimeoutError, LookupError, TypeError, ValueError, AssertionError) as error:
        raise PeerFailedError(f"its answer differs from that of faceattr_aio: {error!r}") from error


async def _post(client: ClientSession, server: Server, peer: Peer) -> str:
    return await post(client, _url(server), peer.upload.body, peer.upload.content_type)


def _url(server: Server) -> str:
    return f"{server.url}/analyze"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = log.read().split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
