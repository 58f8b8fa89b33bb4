"""Tells the URLs that clients name of jobs that are over: those on the operator's list alone, and nothing inside our
own network that is not on it by name. Knows not what a job is about.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, ThreadedResolver, hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from faceattr_aio.errors import BadOption
from faceattr_aio.pipeline import JSON
from faceattr_aio.schemas import Job

log = logging.getLogger("faceattr_aio.callbacks")

_TRIES, _PAUSE_S, _TIMEOUT_S = 4, 0.5, 5.0
"""The pause doubles each time."""
_AT_A_TIME, _MOST = 8, 1000
_REDIRECTIONS, _FAULTS, _PASSING = 300, 500, frozenset({408, 425, 429})
"""The first status of each kind; and those of a refusal that may be none the next time."""


class Webhooks:
    """`allowed` are hosts (`example.org`, `example.org:8443`), hosts in a domain (`*.example.org`, or `*` for all), or
    URLs and what is below them (`https://example.org/hooks`). What is listed with its full name may be anywhere; what
    only fits a pattern must have an address of the public internet.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = tuple(allowed)
        self._telling: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    @property
    def is_idle(self) -> bool:
        return not self._telling

    def check(self, text: str) -> None:
        """Raises BadOption when the URL is not to be called."""
        if not self._allowed:
            raise BadOption("callback: none are allowed here.")
        try:
            url = URL(text)
            named = url.user or url.password
            if url.scheme in {"http", "https"} and url.host and not named and self._is_listed(url):
                return
        except ValueError:
            pass
        raise BadOption("callback: that URL is not among those that are allowed here.")

    def tell(self, job: Job, url: str) -> None:
        """Sends the job to the URL by and by, if there is one."""
        if not url:
            return
        if len(self._telling) >= _MOST:
            log.warning("job %s: too many others are to be told of, so nobody is told of this one", job.id)
            return
        task = asyncio.create_task(self._tell(job, URL(url)))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """Gives those a last chance that have not been told yet."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=_TIMEOUT_S)
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    def _is_listed(self, url: URL) -> bool:
        return self._is_named(url) or (self._fits_a_pattern(url) and not is_private(url.host or ""))

    def _is_named(self, url: URL) -> bool:
        return any(_is_below(url, URL(one)) if "://" in one else _is_host(url, one) for one in self._allowed)

    def _fits_a_pattern(self, url: URL) -> bool:
        return any(one.startswith("*") and (url.host or "").endswith(one[1:].lower()) for one in self._allowed)

    async def _tell(self, job: Job, url: URL) -> None:
        async with self._turns:
            for number in range(_TRIES):
                if number:
                    await asyncio.sleep(_PAUSE_S * 2 ** (number - 1))
                if await self._is_settled(job, url):
                    return
        log.warning("job %s: %s could not be told of it", job.id, url.host)

    async def _is_settled(self, job: Job, url: URL) -> bool:
        """Whether it was told, or never can be."""
        try:
            status = await self._post(job, url)
        except (ClientError, OSError, TimeoutError) as error:
            log.info("job %s: %s cannot be told of it now: %s", job.id, url.host, error or type(error).__name__)
            return False
        if _REDIRECTIONS <= status < _FAULTS and status not in _PASSING:
            log.warning("job %s: %s does not want to be told of it: %d", job.id, url.host, status)
            return True
        return status < _REDIRECTIONS

    async def _post(self, job: Job, url: URL) -> int:
        """The status of the answer, which is not read. The name is looked up anew each time."""
        resolver = None if self._is_named(url) else PublicResolver()
        connector = TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        body, headers = job.model_dump_json(exclude_none=True), {hdrs.CONTENT_TYPE: JSON}
        async with (
            ClientSession(connector=connector, timeout=ClientTimeout(total=_TIMEOUT_S)) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status


def _is_host(url: URL, listed: str) -> bool:
    """With a port it is that one alone."""
    return listed.lower() in {url.host, f"{url.host_subcomponent}:{url.port}", url.host_subcomponent}


def _is_below(url: URL, listed: URL) -> bool:
    """Whole names of a path only: /hooks is not below /hook."""
    folder = listed.path.rstrip("/")
    return url.origin() == listed.origin() and (url.path == folder or url.path.startswith(folder + "/"))


_TRANSLATED = IPv6Network("64:ff9b::/96")


def is_private(host: str) -> bool:
    """Whether this is an address, rather than a name, that is not one of the public internet."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or _translated(address) or address
    return not address.is_global or address.is_multicast


def _translated(address: IPv6Address) -> IPv4Address | None:
    """The address that a translator between both kinds makes of it."""
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _TRANSLATED else None


class PublicResolver(AbstractResolver):
    """Finds addresses of names, but for a name that leads inwards none at all. It is asked when the connection is made,
    so that no other answer can follow.
    """

    def __init__(self) -> None:
        self._names = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        if any(is_private(one["host"]) for one in found):
            raise OSError(errno.EACCES, "the name leads into our own network")
        return found

    async def close(self) -> None:
        await self._names.close()
