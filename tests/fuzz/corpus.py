"""Damaged pictures by number: the same number makes the same input in every process and in any order."""

import random
import re
import struct
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.seeds import chunk, seeds
from tests.support.process import ROOT

KEPT = ROOT / ".fuzz"
"""The folder of inputs that showed a fault."""
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_MUTATIONS = 4
_UNCHANGED = 0.05
"""Fraction of inputs that are intact pictures."""
_SMALL = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 1024, 4096, 7071, 16383, 32767, 32768, 65500, 65535)
_INTERESTING = (*_SMALL, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_SEGMENTS = re.compile(rb"\xff[\xc0-\xcf\xda-\xef]|IHDR|PLTE|tRNS|IDAT|acTL|fcTL|fdAT|eXIf|RIFF|VP8.|ALPH|AN..|EXIF")
"""Markers at the beginning of headers, of all formats."""

Chance = random.Random
Mutation = Callable[[bytearray, Chance], bytearray]


def picture(number: int) -> bytes:
    """Return input `number`, which may be negative."""
    chance = Chance(f"picture {number}")
    data = bytearray(chance.choice(seeds()))
    if chance.random() < _UNCHANGED:
        return bytes(data)
    for _ in range(chance.randint(1, _MOST_MUTATIONS)):
        data = chance.choice(_MUTATIONS)(data, chance)
    return bytes(data)


def keep(number: int, data: bytes) -> Path:
    """Store an input that showed a fault and return its path."""
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"picture-{number}"
    path.write_bytes(data)
    return path


def _flip_bits(data: bytearray, chance: Chance) -> bytearray:
    for _ in range(chance.randint(1, 8)):
        position = _somewhere(data, chance)
        data[position : position + 1] = bytes(byte ^ 1 << chance.randrange(8) for byte in data[position : position + 1])
    return data


def _set_bytes(data: bytearray, chance: Chance) -> bytearray:
    start = _somewhere(data, chance)
    length = min(chance.randint(1, 16), len(data) - start)
    data[start : start + length] = chance.randbytes(length)
    return data


def _set_field(data: bytearray, chance: Chance) -> bytearray:
    """Replace a length, size or count in or near a header by an extreme number."""
    begins = [found.start() for found in _SEGMENTS.finditer(data)]
    start = max(0, chance.choice(begins or [0]) + chance.randint(-4, 24))
    size, number = chance.choice((1, 2, 3, 4)), chance.choice(_INTERESTING)
    order = chance.choice((">I", "<I"))
    field = struct.pack(order, number)
    data[start : start + size] = field[-size:] if order == ">I" else field[:size]
    return data


def _cut(data: bytearray, chance: Chance) -> bytearray:
    return data[: _somewhere(data, chance)]


def _insert(data: bytearray, chance: Chance) -> bytearray:
    position = _somewhere(data, chance)
    data[position:position] = chance.randbytes(chance.randint(1, 64))
    return data


def _append(data: bytearray, chance: Chance) -> bytearray:
    return data + chance.choice((chance.randbytes(chance.randint(1, 4096)), b"\xff" * 512, b"\0" * 512, bytes(data)))


def _remove_block(data: bytearray, chance: Chance) -> bytearray:
    start, end = _block(data, chance)
    del data[start:end]
    return data


def _repeat_block(data: bytearray, chance: Chance) -> bytearray:
    start, end = _block(data, chance)
    data[end:end] = data[start:end] * chance.randint(1, 8)
    return data


def _swap_blocks(data: bytearray, chance: Chance) -> bytearray:
    a, b, c, d = sorted(_somewhere(data, chance) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _splice(data: bytearray, chance: Chance) -> bytearray:
    other = chance.choice(seeds())
    return data[: _somewhere(data, chance)] + other[_somewhere(other, chance) :]


def _mend(data: bytearray, chance: Chance) -> bytearray:
    """Damage the data and correct the checksums of a PNG, so that the damage passes them."""
    data = chance.choice((_flip_bits, _set_bytes, _set_field))(data, chance)
    return mended(data) if data.startswith(_PNG) else data


def mended(data: bytearray) -> bytearray:
    """Return the PNG with correct checksums in all chunks up to the first invalid length."""
    made, position = bytearray(data[:8]), 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            break
        made += chunk(bytes(data[position + 4 : position + 8]), bytes(data[position + 8 : end]))
        position = end + 4
    return made + data[position:]


def _somewhere(data: bytes | bytearray, chance: Chance) -> int:
    """Return a position, half of the time in the first 200 bytes."""
    most = min(len(data), 200) if chance.random() < 0.5 else len(data)
    return chance.randint(0, most)


def _block(data: bytearray, chance: Chance) -> tuple[int, int]:
    start = _somewhere(data, chance)
    return start, min(len(data), start + chance.choice((1, 4, 16, 64, 512)))


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _set_bytes,
    _set_field,
    _set_field,
    _cut,
    _insert,
    _append,
    _remove_block,
    _repeat_block,
    _swap_blocks,
    _splice,
    _mend,
    _mend,
    _mend,
)
