"""Webhooks: POST of each ended job to the callback URL of its client.

Only URLs that the operator has listed are called, and no private address that is not listed by its full name.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, ThreadedResolver, hdrs
from aiohttp.abc import ResolveResult
from yarl import URL

from faceattr_aio.errors import BadOption
from faceattr_aio.pipeline import JSON
from faceattr_aio.schemas import Job

log = logging.getLogger("faceattr_aio.callbacks")

_PAUSES_S, _TIMEOUT_S = (0.0, 0.5, 1.0, 2.0), 5.0
"""The pause before each try."""
_CONCURRENCY, _MAX_PENDING = 8, 1000
_REDIRECTIONS, _SERVER_ERRORS, _RETRYABLE = 300, 500, frozenset({408, 425, 429})
"""The first status of each kind; the client errors after which a call is repeated."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""A NAT64 gateway connects to the IPv4 address in the last 32 bits."""


class Webhooks:
    """Calls to callback URLs, on the event loop.

    `allowed` holds hosts (`example.org`, `example.org:8443`), patterns (`*.example.org`, or `*` for all hosts) and URL
    prefixes (`https://example.org/hooks`). A host that only matches a pattern must have a public address.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = tuple(allowed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_CONCURRENCY)

    @property
    def is_idle(self) -> bool:
        return not self._tasks

    def check(self, text: str) -> None:
        """Check that the URL may be called. Raises BadOption."""
        if not self._allowed:
            raise BadOption("callback: none are allowed here.")
        with suppress(ValueError):
            url = URL(text)
            has_credentials = url.user or url.password
            is_allowed = self._is_listed(url) or self._matches_pattern(url)
            if url.scheme in {"http", "https"} and url.host and not has_credentials and is_allowed:
                return
        raise BadOption("callback: that URL is not among those that are allowed here.")

    def notify(self, job: Job, url: str) -> None:
        """Start to send the job to the URL; do nothing when the URL is empty."""
        if not url:
            return
        if len(self._tasks) >= _MAX_PENDING:
            log.warning("job %s: too many callbacks are pending; this one is dropped", job.id)
            return
        task = asyncio.create_task(self._send(job, URL(url)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for pending calls, at most `_TIMEOUT_S`, and cancel the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _is_listed(self, url: URL) -> bool:
        return any(_is_below(url, URL(one)) if "://" in one else _is_host(url, one) for one in self._allowed)

    def _matches_pattern(self, url: URL) -> bool:
        host = url.host or ""
        is_match = any(one.startswith("*") and host.endswith(one[1:].lower()) for one in self._allowed)
        return is_match and not is_private(host)

    async def _send(self, job: Job, url: URL) -> None:
        async with self._slots:
            for pause_s in _PAUSES_S:
                await asyncio.sleep(pause_s)
                if await self._is_settled(job, url):
                    return
        log.warning("job %s: callback to %s was given up after %d tries", job.id, url.host, len(_PAUSES_S))

    async def _is_settled(self, job: Job, url: URL) -> bool:
        """Try once. Return whether another try is needless, because the job was accepted or rejected."""
        try:
            status = await self._post(job, url)
        except (ClientError, OSError) as error:
            log.info("job %s: callback to %s failed: %s", job.id, url.host, error or type(error).__name__)
            return False
        is_rejected = _REDIRECTIONS <= status < _SERVER_ERRORS and status not in _RETRYABLE
        if is_rejected:
            log.warning("job %s: callback to %s was rejected with status %d", job.id, url.host, status)
        return is_rejected or status < _REDIRECTIONS

    async def _post(self, job: Job, url: URL) -> int:
        """Return the status of the response without reading its body. Each call resolves the host again."""
        resolver = None if self._is_listed(url) else PublicResolver()
        connector = TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        body, headers = job.model_dump_json(exclude_none=True), {hdrs.CONTENT_TYPE: JSON}
        async with (
            ClientSession(connector=connector, timeout=ClientTimeout(total=_TIMEOUT_S)) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status


class PublicResolver(ThreadedResolver):
    """A resolver that refuses names with a private address.

    The connection itself uses it, so that a later change of the name cannot bypass the check.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await super().resolve(host, port, family)
        if any(is_private(result["host"]) for result in results):
            raise OSError(errno.EACCES, "the name has a private address")
        return results


def is_private(host: str) -> bool:
    """Return whether the host is an address, not a name, outside the public internet."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        from_nat64 = IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or from_nat64 or address
    return not address.is_global or address.is_multicast


def _is_host(url: URL, listed: str) -> bool:
    """Match a host; also its port if one is listed."""
    return listed.lower() in {url.host, f"{url.host_subcomponent}:{url.port}", url.host_subcomponent}


def _is_below(url: URL, listed: URL) -> bool:
    """Match a URL prefix by whole segments: /hooks is not below /hook."""
    folder = listed.path.rstrip("/")
    return url.origin() == listed.origin() and (url.path == folder or url.path.startswith(folder + "/"))
