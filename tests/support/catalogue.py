"""Tables of test pictures by name. Each entry makes a file from the pixels of a picture with one face."""

import struct
import zlib

import numpy as np

from faceattr_aio.pipelines.imaging import Pixels
from tests.support import pictures as make
from tests.support.pictures import HTML, PDF, SVG, ZIP, Maker, Table, after_start, encoded, image, saved

FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif")
DEFAULT = FORMATS[:3]
RED = np.full((512, 512, 3), (20, 20, 200), np.uint8)


def plain(name: str, **options: object) -> Maker:
    return lambda pixels: saved(pixels, name, **options)


def mode(name: str, into: str) -> Maker:
    """Convert to another colour mode of Pillow."""
    return lambda pixels: saved(image(pixels).convert(into), name)


def animated(name: str) -> Maker:
    return plain(name, save_all=True, append_images=[RED, RED], duration=100)


def turned(orientation: int, name: str) -> Maker:
    return lambda pixels: make.with_orientation(pixels, orientation, name)


def deep(*, grey: bool) -> Maker:
    """Encode with 16 bits per channel."""
    return lambda pixels: encoded(".png", (pixels[..., 1] if grey else pixels).astype(np.uint16) * 257)


def see_through(pixels: Pixels) -> bytes:
    """Make every other row fully transparent, with its colours unchanged."""
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[::2] = 0
    return encoded(".png", np.dstack([pixels, alpha]))


def with_segments(*segments: bytes) -> Maker:
    return lambda pixels: after_start(saved(pixels, "jpeg"), *segments)


def with_chunks(*chunks: bytes) -> Maker:
    return lambda pixels: make.before_pixels(saved(pixels, "png"), *chunks)


def with_chunk_bomb(pixels: Pixels, kind: bytes, start: bytes) -> bytes:
    """Add a metadata chunk that inflates to 200 MB."""
    return with_chunks(make.chunk(kind, start + make.bomb(200)))(pixels)


def then(maker: Maker, rest: bytes) -> Maker:
    return lambda pixels: maker(pixels) + rest


def before(start: bytes, maker: Maker) -> Maker:
    return lambda pixels: start + maker(pixels)


def as_it_is(data: bytes) -> Maker:
    return lambda _: data


SHOWN: Table = {
    "jpeg": plain("jpeg"),
    "png": plain("png"),
    "webp": plain("webp"),
    "webp without loss": plain("webp", lossless=True),
    "jpeg of full colour": plain("jpeg", subsampling=0),
    "jpeg with restarts": plain("jpeg", restart_marker_rows=1),
    "jpeg with tables of its own": plain("jpeg", optimize=True),
    "progressive jpeg": plain("jpeg", progressive=True),
    "grey jpeg": mode("jpeg", "L"),
    "cmyk jpeg": mode("jpeg", "CMYK"),
    "grey png": mode("png", "L"),
    "grey png with alpha": mode("png", "LA"),
    "rgba png": mode("png", "RGBA"),
    "rgba webp": mode("webp", "RGBA"),
    "transparent rows": see_through,
    "palette": mode("png", "P"),
    "16 bits": deep(grey=False),
    "16 bits grey": deep(grey=True),
    "animated webp": animated("webp"),
    "animated png": animated("png"),
    "two pictures in a jpeg": plain("mpo", save_all=True, append_images=[RED]),
    "jpeg, then another": lambda pixels: saved(pixels, "jpeg") + saved(RED, "jpeg"),
    "jpeg, then zip": then(plain("jpeg"), ZIP),
    "jpeg, then html": then(plain("jpeg"), HTML),
    "png, then zip": then(plain("png"), ZIP),
    "webp, then html": then(plain("webp"), HTML),
    "html in a comment": with_segments(make.segment(0xFE, HTML)),
    "3 MB of exif": with_segments(*[make.segment(0xE1, b"Exif\0\0" + b"\0" * 65_000)] * 46),
    "garbage exif": with_segments(make.segment(0xE1, b"Exif\0\0MM\0*" + bytes(range(256)) * 9)),
    "exif of another kind": with_segments(make.segment(0xE1, b"Exif\0\0" + b"\xff" * 99)),
    "exif orientation 0": turned(0, "jpeg"),
    "exif orientation 9": turned(9, "jpeg"),
    "ztxt bomb": lambda pixels: with_chunk_bomb(pixels, b"zTXt", b"Comment\0\0"),
    "iccp bomb": lambda pixels: with_chunk_bomb(pixels, b"iCCP", b"icc\0\0"),
    "100,000 texts": with_chunks(make.chunk(b"tEXt", b"Comment\0x") * 100_000),
    **{
        f"{name} turned by exif {number}": turned(number, name)
        for name in ("jpeg", "png", "webp")
        for number in range(1, 9)
    },
}
"""Accepted by default; the face is found where it is in the plain picture."""

SHOWN_WHEN_ASKED_FOR: Table = {
    "gif": plain("gif"),
    "animated gif": animated("gif"),
    "gif, then zip": then(plain("gif"), ZIP),
    "gif, then html": then(plain("gif"), HTML),
    "bmp": plain("bmp"),
    "bmp with a palette": mode("bmp", "P"),
    "tiff": plain("tiff"),
    "deflated tiff": plain("tiff", compression="tiff_adobe_deflate"),
    "jpeg in tiff": plain("tiff", compression="jpeg"),
    "jpeg in tiff, by hand": lambda pixels: make.jpeg_in_tiff(mode("jpeg", "L")(pixels), 512),
    "16 bits tiff": lambda pixels: encoded(".tiff", pixels.astype(np.uint16) * 257),
    "tiff of many pages": plain("tiff", save_all=True, append_images=[RED] * 20),
    "avif": plain("avif"),
    "rgba avif": mode("avif", "RGBA"),
    **{f"tiff turned by orientation {number}": turned(number, "tiff") for number in range(1, 9)},
}
"""As SHOWN, when the setting image.formats contains the format."""

BLANK: Table = {
    "png of 1 x 1": as_it_is(saved(RED[:1, :1], "png")),
    "jpeg of 1 x 1": as_it_is(saved(RED[:1, :1], "jpeg")),
    "webp of 1 x 1": as_it_is(saved(RED[:1, :1], "webp")),
    "65000 x 1": as_it_is(encoded(".png", np.zeros((1, 65_000), np.uint8))),
    "1 x 65000": as_it_is(encoded(".png", np.zeros((65_000, 1), np.uint8))),
    "7000 x 7000 of one colour": lambda _: make.blank_png(7000),
    "webp of 34 bytes, 7000 x 7000": as_it_is(make.webp_of_34_bytes(7000)),
}
"""Accepted by default; there is no face."""

BLANK_WHEN_ASKED_FOR: Table = {
    "gif of 1 x 1": as_it_is(make.gif((1, 1), (1, 1))),
    "bmp of nothing but its end": as_it_is(make.bmp_of_nothing(64, 64)),
    "tiff of one tile": lambda _: make.tiff_tile(16, 16),
    "avif of one colour": lambda _: make.avif_of_size(64, 64),
    "avif shown larger than it is": lambda _: make.avif_of_size(64, 900),
}

NO_PICTURES: Table = {
    "zip": as_it_is(ZIP),
    "pdf": as_it_is(PDF),
    "svg": as_it_is(SVG),
    "html": as_it_is(HTML),
    "text": as_it_is(b"a picture of a cat"),
    "zeros": as_it_is(b"\0" * 1000),
    "random": as_it_is(np.random.default_rng(7).bytes(10_000)),
    "half a signature": as_it_is(b"\xff\xd8"),
    "openexr": as_it_is(b"\x76\x2f\x31\x01" + b"\0" * 100),
    "jpeg 2000": lambda pixels: encoded(".jp2", pixels),
    "portable pixmap": lambda pixels: encoded(".ppm", pixels),
    "zip, then jpeg": before(ZIP, plain("jpeg")),
    "html, then jpeg": before(HTML, plain("jpeg")),
    "pdf, then png": before(PDF, plain("png")),
    "larger tiff": as_it_is(b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + b"\0" * 100),
    "animated avif": animated("avif"),
}
"""415, with any setting of image.formats."""

DAMAGED: Table = {
    "start of a jpeg": as_it_is(b"\xff\xd8\xff"),
    "start of a png": as_it_is(b"\x89PNG\r\n\x1a\n"),
    "start of a webp": as_it_is(b"RIFF\0\0\0\0WEBP"),
    "jpeg without its last two bytes": lambda pixels: saved(pixels, "jpeg")[:-2],
    "half a jpeg, then zeros": lambda pixels: make.cut(saved(pixels, "jpeg"), 0.5) + b"\0" * 4096,
    **{
        f"jpeg cut to {tenth}0 %, then an end": lambda pixels, tenth=tenth: make.cut(  # type: ignore[misc]  # bound here
            saved(pixels, "jpeg"), tenth / 10, b"\xff\xd9"
        )
        for tenth in range(1, 10)
    },
    "jpeg with restarts, half of it, then an end": lambda pixels: make.cut(
        saved(pixels, "jpeg", restart_marker_rows=1), 0.5, b"\xff\xd9"
    ),
    "half a jpeg, then another": lambda pixels: make.cut(saved(pixels, "jpeg"), 0.5) + saved(pixels, "jpeg"),
    "progressive jpeg without its last pass": lambda pixels: make.without_last_scan(
        saved(pixels, "jpeg", progressive=True)
    ),
    "jpeg of three times the size": lambda pixels: make.of_size(saved(pixels, "jpeg"), 1536, 1536),
    "jpeg without height": lambda pixels: make.of_size(saved(pixels, "jpeg"), 512, 0),
    "png with a wrong checksum": lambda pixels: make.flipped(saved(pixels, "png"), 5_000),
    "png of two headers": as_it_is(make.png(9, 9, make.chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)))),
    "png without pixels": as_it_is(make.png(100, 100)),
    "frames beyond the png": as_it_is(
        make.png(
            16,
            16,
            make.chunk(b"acTL", struct.pack(">II", 2, 0)),
            make.chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 20_000, 20_000, 0, 0, 1, 10, 0, 0)),
            make.chunk(b"IDAT", zlib.compress(b"\0" * 17 * 16)),
        )
    ),
    "webp larger than its canvas": as_it_is(make.riff(make.webp_canvas(16, 16), make.webp_of_34_bytes(7000)[12:])),
}
"""422 unreadable-image."""

FORGED: Table = {
    "png of 60000 x 60000": lambda _: make.png(60_000, 60_000, make.chunk(b"IDAT", make.bomb(4))),
    "png of 20000 x 20000 in one colour": lambda _: make.blank_png(20_000),
    "webp of 34 bytes, 16383 x 16383": as_it_is(make.webp_of_34_bytes(16_383)),
    "webp with a canvas of 16384 x 16384": as_it_is(make.riff(make.webp_canvas(16_384, 16_384, 2))),
    "jpeg of 30000 x 30000 in its header": lambda pixels: make.of_size(saved(pixels, "jpeg"), 30_000, 30_000),
    "jpeg of 65500 x 65500 in its header": lambda pixels: make.of_size(saved(pixels, "jpeg"), 65_500, 65_500),
}
"""422 too-many-pixels."""

COMPLEX: Table = {
    "scan bomb": make.scan_bomb,
    "many scans": as_it_is(make.with_scans(101, side=100)),
    "many scans for its size": as_it_is(make.with_scans(70, side=3000)),
    "segments": lambda pixels: after_start(saved(pixels, "jpeg"), b"\xff\xfe\0\2" * 100_000),
}
"""422 too-complex."""

FORGED_WHEN_ASKED_FOR: Table = {
    "gif canvas of 30000 x 30000": as_it_is(make.gif((30_000, 30_000), (1, 1))),
    "bmp of 20000 x 20000": as_it_is(make.bmp_of_nothing(20_000, 20_000)),
    "bmp of negative width": as_it_is(make.bmp_of_nothing(-9, 9)),
    "tiff of 30000 x 30000": as_it_is(make.tiff([(256, 4, 1, 30_000), (257, 4, 1, 30_000)])),
    "tiff tile of 8000 x 8000": lambda _: make.tiff_tile(16, 8000),
    "avif of 16000 x 16000 in its header": lambda _: make.avif_of_size(64, 16_000),
}

DAMAGED_WHEN_ASKED_FOR: Table = {
    "gif frame beyond its canvas": as_it_is(make.gif((1, 1), (5_000, 5_000))),
    "gif without canvas": as_it_is(make.gif((0, 0), (1, 1))),
    "bmp of a size and nothing else": lambda pixels: saved(pixels, "bmp")[:54],
    "tiff without pixels": as_it_is(make.tiff([(256, 4, 1, 30), (257, 4, 1, 30)])),
    "tiff of 2^28 strips": as_it_is(
        make.tiff([(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (273, 4, 1 << 28, 200), (279, 4, 1 << 28, 200)])
    ),
    "larger jpeg in tiff": lambda pixels: make.jpeg_in_tiff(mode("jpeg", "L")(pixels), 64),
    "avif that hides 8000 x 8000": lambda _: make.avif_of_size(8000, 64),
    "turned avif": turned(6, "avif"),
}
