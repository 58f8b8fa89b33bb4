"""Keys that are let in: read once, kept and compared as digests, named without being told.
Knows no HTTP and not what a key allows.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from faceattr_aio.config import sane_key
from faceattr_aio.errors import StartError


class Digests(Protocol):
    """Keys that are known elsewhere, by their SHA-256, at any moment."""

    @property
    def digests(self) -> frozenset[bytes]: ...


class Keys:
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
            yield sane_key(line)
        except ValueError as error:
            raise StartError(f"Line {number} of {path} is no API key: {error}.") from error
