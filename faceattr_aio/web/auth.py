"""Authentication: the client of a request is its API key, or else the address it comes from."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
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
"""The client of every request without an address, for example over a Unix socket."""
_MAX_HOPS = 32
"""Addresses of X-Forwarded-For that are parsed, from the right."""
_CACHED_ADDRESSES = 1024
"""Parsing an address costs a tenth of a refusal."""
_IPV6_PREFIX = 64
"""Bits that identify an IPv6 customer, who chooses the other bits freely."""

Address = IPv4Address | IPv6Address


class KeyDigests(Protocol):
    """SHA-256 digests of API keys that are stored elsewhere; they may change at any time."""

    @property
    def digests(self) -> frozenset[bytes]: ...


class ApiKeys:
    """The accepted API keys: those of the settings, of a file, and of a shared store. Kept and compared as digests."""

    def __init__(
        self, secrets: Iterable[SecretStr] = (), file: Path | None = None, stored: KeyDigests | None = None
    ) -> None:
        """Raises StartError when the file cannot be read or has no valid key."""
        keys = [secret.get_secret_value() for secret in secrets]
        if file:
            keys += _read_keys(file)
        self.required = bool(keys) or stored is not None
        """True when every request needs a key."""
        self._digests = frozenset(map(_digest, keys))
        self._stored = stored

    def name_of(self, key: str) -> str | None:
        """Return a stable name for the client with this key, or None when the key is not accepted."""
        digest = _digest(key)
        accepted = self._digests | self._stored.digests if self._stored else self._digests
        matching = [one for one in accepted if hmac.compare_digest(one, digest)]  # all of them, in constant time
        return f"key {matching[0].hex()[:16]}" if matching else None


class Authenticator:
    """Identifies the client of a request."""

    def __init__(self, keys: ApiKeys, trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        """X-Forwarded-For is believed when it comes from one of the `trusted_proxies`."""
        self._keys = keys
        self._trusted_proxies = trusted_proxies

    def identify(self, request: web.BaseRequest) -> str:
        """Return the client's name, the same for all its requests.

        Raises Unauthorized when keys are required and the request has no accepted one.
        """
        return self.owner(request) or _address_name(self._address(request))

    def owner(self, request: web.BaseRequest) -> str:
        """Return the owner of the jobs that the request may see: its key, or empty when no keys are required.

        Raises Unauthorized.
        """
        if not self._keys.required:
            return ""
        scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        sent = (bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get(API_KEY, ""))
        names = [name for name in map(self._keys.name_of, sent) if name]
        if not names:
            raise Unauthorized
        return names[0]

    def _address(self, request: web.BaseRequest) -> Address | None:
        """Return the peer's address, or the one before the last trusted proxy in X-Forwarded-For."""
        nearest = _parse_address(request.remote or "")
        forwarded = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ()))
        hops = map(_parse_address, reversed(forwarded.rsplit(",", _MAX_HOPS)))
        while nearest and any(nearest in network for network in self._trusted_proxies) and (before := next(hops, None)):
            nearest = before
        return nearest


def _digest(key: str) -> bytes:
    """Return the SHA-256 of a key: of one length for any input."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _read_keys(path: Path) -> list[str]:
    """Return the keys in a file, one a line; empty lines and comments are skipped. Raises StartError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartError(f"The file of API keys {path} cannot be read: {reason}.") from error
    numbered = enumerate(map(str.strip, lines), 1)
    keys = [_check_key(line, number, path) for number, line in numbered if line and not line.startswith("#")]
    if not keys:
        raise StartError(f"The file of API keys {path} has no key: add one a line, or remove keys_file from [auth].")
    return keys


def _check_key(line: str, number: int, path: Path) -> str:
    try:
        return validate_api_key(line)
    except ValueError as error:
        raise StartError(f"Line {number} of {path} is not an API key: {error}.") from error


@lru_cache(_CACHED_ADDRESSES)
def _parse_address(text: str) -> Address | None:
    """Parse an address; a port as in 192.0.2.1:80 or [2001:db8::1]:80 is ignored."""
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


@lru_cache(_CACHED_ADDRESSES)
def _address_name(address: Address | None) -> str:
    """Return an IPv4 address as text, and of an IPv6 address its /64 network."""
    if address is None:
        return _LOCAL
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), _IPV6_PREFIX), strict=False))
    return str(address)
