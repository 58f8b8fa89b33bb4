"""Who asks: the API key that a request shows, or else the address it comes from.
Knows nothing of what a client may have.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Protocol

from aiohttp import hdrs, web
from pydantic import SecretStr

from faceattr_aio.config.schema import validate_api_key
from faceattr_aio.errors import StartError, Unauthorized

API_KEY = "X-API-Key"
_LOCAL = "local"
"""All who come without an address, as over a unix socket."""
_HOPS = 32
"""Most addresses of X-Forwarded-For that are looked at, from the right."""
_REMEMBERED = 1024
"""Addresses that need no second reading: it is a tenth of what a refusal costs."""
_IPV6_CUSTOMER = 64
"""Bits that one customer is given; the rest of an address is the customer's own choice."""

Address = IPv4Address | IPv6Address


class Digests(Protocol):
    """Keys that are known elsewhere, by their SHA-256, at any moment."""

    @property
    def digests(self) -> frozenset[bytes]: ...


class ApiKeys:
    """The keys of the settings, of the file that they name, and those that are known elsewhere. Raises StartError when
    the file cannot be used.
    """

    def __init__(
        self, secrets: Iterable[SecretStr] = (), file: Path | None = None, elsewhere: Digests | None = None
    ) -> None:
        given = [secret.get_secret_value() for secret in secrets]
        if file:
            given += _read(file)
        self.required = bool(given) or elsewhere is not None
        """Whether a key has to be shown."""
        self._digests = frozenset(_digest(key) for key in given)
        self._elsewhere = elsewhere

    def name_of(self, shown: str) -> str | None:
        """A name for the client that shows this key, always the same; None when the key is not one of ours."""
        asked = _digest(shown)
        known = self._digests | self._elsewhere.digests if self._elsewhere else self._digests
        fitting = [one for one in known if hmac.compare_digest(one, asked)]  # all, so that time tells nothing
        return f"key {fitting[0].hex()[:16]}" if fitting else None


def _digest(key: str) -> bytes:
    """All of one length, whatever is in the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StartError(f"The file of API keys {path} cannot be read: {why}.") from error
    keys = list(_keys(path, lines))
    if not keys:
        raise StartError(f"The file of API keys {path} has no key: write one a line, or leave the file out of [auth].")
    return keys


def _keys(path: Path, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        try:
            yield validate_api_key(line)
        except ValueError as error:
            raise StartError(f"Line {number} of {path} is no API key: {error}.") from error


class Authenticator:
    """Tells clients apart. `trusted_proxies` are believed when they say whom they ask for."""

    def __init__(self, keys: ApiKeys, trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._keys = keys
        self._trusted_proxies = trusted_proxies

    def identify(self, request: web.BaseRequest) -> str:
        """A name for the client, the same for all its requests. Raises Unauthorized when keys are asked for and none
        fits.
        """
        return self._by_key(request) if self._keys.required else _name(self._address(request))

    def owner(self, request: web.BaseRequest) -> str:
        """Whose things a request may see: those of its key; where no keys are asked for, everybody's. Raises
        Unauthorized.
        """
        return self._by_key(request) if self._keys.required else ""

    def _by_key(self, request: web.BaseRequest) -> str:
        shown = (_bearer(request.headers.get(hdrs.AUTHORIZATION, "")), request.headers.get(API_KEY, ""))
        names = [name for name in map(self._keys.name_of, shown) if name]
        if not names:
            raise Unauthorized
        return names[0]

    def _address(self, request: web.BaseRequest) -> Address | None:
        """The peer's; or what the nearest proxies say, up to the first that is not trusted or makes no sense."""
        nearest = _parsed(request.remote or "")
        told = _forwarded(request)
        while nearest and self._is_trusted(nearest) and (before := next(told, None)):
            nearest = before
        return nearest

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted_proxies)


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _forwarded(request: web.BaseRequest) -> Iterator[Address | None]:
    """The addresses that proxies have seen, the nearest proxy's first; None for what is no address."""
    told = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, []))
    yield from map(_parsed, reversed(told.rsplit(",", _HOPS)))


@lru_cache(_REMEMBERED)
def _parsed(text: str) -> Address | None:
    """Some proxies add a port: 192.0.2.1:80, [2001:db8::1]:80."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


@lru_cache(_REMEMBERED)
def _name(address: Address | None) -> str:
    if address is None:
        return _LOCAL
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), _IPV6_CUSTOMER), strict=False))
    return str(address)
