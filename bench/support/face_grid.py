"""A picture with a given number of faces, made of tiles of one face. Tiles without a face contain the same blocks in
another order, so that they take as long to decode.
"""

import cv2
import numpy as np

from bench.speed.ceiling import PICTURE
from faceattr_aio.pipelines.imaging import Pixels

TILES, TILE, BLOCK = 4, 256, 16
"""Tiles in a row and in a column; pixels of the side of a tile, and of a block."""
MOST = TILES * TILES
_FACE = slice(20, 220), slice(125, 325)
_QUALITY = 90


def face_grid(faces: int) -> bytes:
    """A JPEG of 1024 x 1024 pixels with 0 to 16 faces at fixed random places."""
    face = _face()
    order = np.random.default_rng(1).permutation(MOST)
    tiles = [face if place < faces else _scrambled(face) for place in np.argsort(order)]
    rows = [np.hstack(tiles[start : start + TILES]) for start in range(0, MOST, TILES)]
    return cv2.imencode(".jpg", np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _face() -> Pixels:
    picture = cv2.imread(str(PICTURE))
    assert picture is not None
    return np.asarray(cv2.resize(picture[_FACE], (TILE, TILE), interpolation=cv2.INTER_CUBIC), np.uint8)


def _scrambled(tile: Pixels) -> Pixels:
    count = TILE // BLOCK
    blocks = tile.reshape(count, BLOCK, count, BLOCK, 3).swapaxes(1, 2).reshape(count * count, BLOCK, BLOCK, 3)
    mixed = np.random.default_rng(0).permutation(blocks)
    return mixed.reshape(count, count, BLOCK, BLOCK, 3).swapaxes(1, 2).reshape(tile.shape)
