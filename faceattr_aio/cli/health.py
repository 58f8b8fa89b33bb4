"""`faceattr-aio health`: asks a running server whether it is ready, as a container's health check or an operator does.
Knows no more of it than its address.
"""

import argparse
import asyncio
import json
import sys
from ipaddress import ip_address
from typing import Any

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout
from yarl import URL

from faceattr_aio.cli import FAILED, flags
from faceattr_aio.config.load import load_config
from faceattr_aio.config.schema import Server
from faceattr_aio.errors import StartError


def run(parsed: argparse.Namespace) -> int:
    """Says in a sentence what is wrong, if anything is. Raises StartError when it is not told whom to ask."""
    url = _base(parsed.url) if parsed.url else _own(load_config(flags(parsed), parsed.config)[0].server)
    fault = asyncio.run(find_fault(url, parsed.timeout))
    if fault is None:
        print(f"{url} is ready")
        return 0
    print(f"faceattr-aio: {url} {fault}", file=sys.stderr)
    return FAILED


async def find_fault(url: URL, timeout_s: float) -> str | None:
    """What is wrong with the server whose app is at `url`, to be read after its name; known within `timeout_s`."""
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=timeout_s)) as session,
            session.get(url.joinpath("readyz").with_query("verbose")) as response,
        ):
            return _read(response.status, await response.read())
    except TimeoutError:
        return f"has not answered within {timeout_s:g} s."
    except ClientConnectorError as error:
        return f"cannot be reached: {error.strerror}."
    except (ClientError, OSError) as error:
        return f"does not speak HTTP: {error}."


def _read(status: int, body: bytes) -> str | None:
    """What an answer of /readyz says to be wrong."""
    try:
        document = json.loads(body)
        told = document["status"]
    except (ValueError, KeyError, TypeError):
        return f"answers {status}, but not as a faceattr-aio server does; is there more to its path?"
    if status == 200:  # noqa: PLR2004  # OK
        return None
    return f"is not ready: {_failed(document) or told}."


def _failed(document: dict[str, Any]) -> str:
    checks = document.get("checks", {})
    return "; ".join(f"{name}: {state}".rstrip(".") for name, state in checks.items() if state != "ok")


def _base(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise StartError(f"{text} is no URL: {error}.") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise StartError(f"{text} is no URL of a server; one begins with http:// or https://.")
    return url


def _own(server: Server) -> URL:
    """Where the server of these settings listens, as seen from its own machine."""
    if server.port == 0:
        raise StartError("The settings let the system choose the port (server.port = 0): give the server's URL.")
    return URL.build(scheme="http", host=_reachable(server.host), port=server.port)


def _reachable(host: str) -> str:
    """An address to connect to: one that means all of them becomes the loopback address of its kind."""
    try:
        address = ip_address(host)
    except ValueError:
        return host or "localhost"
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004  # IPv4
