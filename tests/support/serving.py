"""Requests to a real server that `start` has started, and waits for its state."""

import asyncio
from pathlib import Path

from aiohttp import ClientSession, FormData

from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import Server

RAW = {"Content-Type": "image/png"}
Answer = tuple[int, dict[str, str]]
"""Status and headers."""


async def post(client: ClientSession, server: Server, data: bytes) -> Answer:
    """Send a multipart upload to the pipeline `trick`."""
    form = FormData()
    form.add_field("image", data, filename="a.png")
    async with client.post(f"{server.url}/trick", data=form) as response:
        await response.read()
        return response.status, dict(response.headers)


async def hold(
    client: ClientSession, server: Server, png: bytes, gate: Gate, workers: int = 1
) -> list[asyncio.Task[Answer]]:
    """Start requests, each of which blocks a worker at the gate."""
    held = [asyncio.create_task(post(client, server, png)) for _ in range(workers)]
    await asyncio.to_thread(gate.wait_for, workers)
    return held


async def until_not_ready(client: ClientSession, server: Server) -> None:
    """Wait until readiness is down, which means that the server has handled the signal."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with client.get(f"{server.url}/readyz") as response:
                if response.status == 503:
                    return
            await asyncio.sleep(0.01)


async def until_ended(processes: list[int]) -> None:
    """Wait until none of the processes runs."""
    async with asyncio.timeout(PATIENCE_S):
        while any(_is_running(pid) for pid in processes):  # polled, because they are not child processes of the test
            await asyncio.sleep(0.01)


def _is_running(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
