"""`faceattr-aio health`: checks whether a running server is ready, for operators and container health checks."""

import argparse
import asyncio
import json
import sys

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout
from yarl import URL

from faceattr_aio.cli import FAILED
from faceattr_aio.cli.settings import load
from faceattr_aio.config.schema import ServerConfig
from faceattr_aio.errors import StartError

_LOOPBACK = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not an address to listen on
"""Addresses to connect to, for wildcard addresses to listen on."""


def run(parsed: argparse.Namespace) -> int:
    """Print whether the server is ready. Raises StartError when its URL is invalid or cannot be derived."""
    url = _parse_url(parsed.url) if parsed.url else _configured_url(load(parsed).server)
    fault = asyncio.run(find_fault(url, parsed.timeout))
    if fault is None:
        print(f"{url} is ready")
        return 0
    print(f"faceattr-aio: {url} {fault}", file=sys.stderr)
    return FAILED


async def find_fault(url: URL, timeout_s: float) -> str | None:
    """Check the server at `url`. Return its fault, as the predicate of a sentence, or None if it is ready."""
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=timeout_s)) as session,
            session.get(url.joinpath("readyz").with_query("verbose")) as response,
        ):
            return _fault_of(response.status, await response.read())
    except TimeoutError:
        return f"has not answered within {timeout_s:g} s."
    except ClientConnectorError as error:
        return f"cannot be reached: {error.strerror}."
    except (ClientError, OSError) as error:
        return f"is not an HTTP server: {error}."


def _fault_of(status: int, body: bytes) -> str | None:
    """Return the fault that a response of /readyz describes."""
    try:
        document = json.loads(body)
        summary = document["status"]
    except (ValueError, KeyError, TypeError):
        return f"is not a faceattr-aio server (its response was {status}); check the path of the URL."
    if status == 200:  # noqa: PLR2004  # OK
        return None
    checks = document.get("checks", {})
    failed = "; ".join(f"{name}: {state}".rstrip(".") for name, state in checks.items() if state != "ok")
    return f"is not ready: {failed or summary}."


def _parse_url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise StartError(f"{text} is not a URL: {error}.") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise StartError(f"{text} is not the URL of a server; it has to begin with http:// or https://.")
    return url


def _configured_url(server: ServerConfig) -> URL:
    """Return the URL of the server that runs on this machine with these settings."""
    if server.port == 0:
        raise StartError("The port is chosen by the system (server.port = 0): give the URL of the server.")
    return URL.build(scheme="http", host=_LOOPBACK.get(server.host, server.host), port=server.port)
