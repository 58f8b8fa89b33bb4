"""Names and addresses of the public internet, and none of our own network. Knows not what is asked there."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

_TRANSLATED = IPv6Network("64:ff9b::/96")


def is_inward(host: str) -> bool:
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


class OutwardResolver(AbstractResolver):
    """Finds addresses of names, but for a name that leads inwards none at all. It is asked when the connection is made,
    so that no other answer can follow.
    """

    def __init__(self) -> None:
        self._names = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        if any(is_inward(one["host"]) for one in found):
            raise OSError(errno.EACCES, "the name leads into our own network")
        return found

    async def close(self) -> None:
        await self._names.close()
