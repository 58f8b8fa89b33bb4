"""Encodes pictures as valid and invalid files of every format, from pixels or byte by byte."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from faceattr_aio.pipelines.imaging import Pixels

DeepPixels = npt.NDArray[np.uint16]
Maker = Callable[[Pixels], bytes]
Table = dict[str, Maker]
ORIENTATION = 0x0112
ZIP = b"PK\x05\x06" + b"\0" * 18
HTML = b"<html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\n%%EOF"


def encoded(suffix: str, pixels: Pixels | DeepPixels, *options: int) -> bytes:
    """Encode with OpenCV."""
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


def image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def saved(pixels: Pixels | Image.Image, name: str, **options: Any) -> bytes:
    """Encode with Pillow. `append_images` are pixels, too."""
    more = [image(each) for each in options.pop("append_images", [])]
    file = io.BytesIO()
    first = pixels if isinstance(pixels, Image.Image) else image(pixels)
    first.save(file, name.upper(), append_images=more, **options)
    return file.getvalue()


def with_orientation(shown: Pixels, orientation: int, name: str = "jpeg") -> bytes:
    """Encode pixels that are stored rotated and mirrored, with the EXIF orientation that restores them."""
    across = shown.transpose(1, 0, 2)
    stored = {
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: across,
        6: across[::-1],
        7: across[::-1, ::-1],
        8: across[:, ::-1],
    }.get(orientation, shown)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(stored, name, exif=exif, **({"quality": 95} if name == "jpeg" else {}))


def cut(file: bytes, kept: float, end: bytes = b"") -> bytes:
    """Return the first part of a file, followed by `end`. `kept` is a fraction."""
    return file[: int(len(file) * kept)] + end


def flipped(file: bytes, bit: int) -> bytes:
    """Return the file with one bit changed."""
    changed = bytearray(file)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# JPEG, byte by byte


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(payload)) + payload


def after_start(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def with_scans(scans: int, side: int = 3000) -> bytes:
    """Make a small progressive JPEG with side x side pixels in its header and many empty scans."""
    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00")
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x00" * 10
    return b"\xff\xd8" + frame + scan * scans + b"\xff\xd9"


def scans_of(jpeg: bytes) -> list[int]:
    """Return the positions of the scans of a JPEG without thumbnail."""
    return [at for at in range(len(jpeg) - 1) if jpeg[at : at + 2] == b"\xff\xda"]


def scan_bomb(pixels: Pixels) -> bytes:
    """Make a progressive JPEG with its last scan repeated 400 times."""
    jpeg = saved(pixels, "jpeg", progressive=True)
    return jpeg[:-2] + jpeg[scans_of(jpeg)[-1] : -2] * 400 + jpeg[-2:]


def of_size(jpeg: bytes, width: int, height: int) -> bytes:
    """Return the JPEG, which has one frame, with another size in its header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def without_last_scan(jpeg: bytes) -> bytes:
    return jpeg[: scans_of(jpeg)[-1]] + b"\xff\xd9"


# PNG, byte by byte


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(width: int, height: int, *chunks: bytes, bits: int = 8) -> bytes:
    """Make a grey PNG with these chunks after the header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def before_pixels(file: bytes, *chunks: bytes) -> bytes:
    """Return the PNG with more chunks after its header."""
    return file[:33] + b"".join(chunks) + file[33:]


def blank_png(side: int) -> bytes:
    """Make a PNG of one colour with one bit per pixel."""
    rows = b"\0" * (1 + (side + 7) // 8) * side
    return png(side, side, chunk(b"IDAT", zlib.compress(rows, 9)), bits=1)


def bomb(megabytes: int) -> bytes:
    return zlib.compress(b"\0" * (megabytes << 20), 1)


# other formats, byte by byte


def riff(*chunks: bytes) -> bytes:
    """Make a WebP file of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, flags: int = 0) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<IB3x", 10, flags) + sides


def webp_of_34_bytes(side: int) -> bytes:
    """Make a lossless WebP of one colour."""
    pixels = b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + bytes.fromhex("8888080000000000")
    return riff(b"VP8L" + struct.pack("<I", len(pixels)) + pixels + b"\0")


def gif(canvas: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """Make a GIF with the data of one pixel; canvas and frame are sizes in its headers."""
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\x00;"


def bmp_of_nothing(width: int, height: int) -> bytes:
    """Make a run-length encoded BMP without runs."""
    fields = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078) + fields + b"\x55" * 1024 + b"\0\1"


def tiff(entries: Sequence[tuple[int, int, int, int]], data: bytes = b"", order: str = "<") -> bytes:
    """Make a TIFF of one directory with entries (tag, type, count, value), followed by the data."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    fields = [
        struct.pack(order + ("HHIHH" if kind == 3 else "HHII"), tag, kind, count, value, *([0] if kind == 3 else []))
        for tag, kind, count, value in entries
    ]
    return head + b"".join(fields) + b"\0\0\0\0" + data


def tiff_tile(side: int, tile: int) -> bytes:
    """Make a grey TIFF in one deflated tile, which may be larger than the picture."""
    data = zlib.compress(b"\x55" * tile * tile, 9)
    sides = [(256, side), (257, side), (322, tile), (323, tile)]
    kinds = [(258, 8), (259, 8), (262, 1), (277, 1), (284, 1), (324, 8 + 2 + 12 * 11 + 4), (325, len(data))]
    return tiff(sorted((tag, 4, 1, value) for tag, value in sides + kinds), data)


def jpeg_in_tiff(jpeg: bytes, side: int) -> bytes:
    """Make a TIFF of side x side pixels with a grey JPEG as its strip."""
    data_at = 8 + 2 + 12 * 9 + 4
    fields = [(256, side), (257, side), (258, 8), (259, 7), (262, 1), (273, data_at), (277, 1), (278, side)]
    return tiff([(tag, 4, 1, value) for tag, value in [*fields, (279, len(jpeg))]], jpeg)


def avif_of_size(side: int, stated: int) -> bytes:
    """Make an AVIF of one colour, side x side pixels, with another size in its header."""
    file = bytearray(saved(Image.new("RGB", (side, side), (200, 100, 50)), "avif", speed=10))
    at = file.index(b"ispe") + 8
    file[at : at + 8] = struct.pack(">II", stated, stated)
    return bytes(file)
