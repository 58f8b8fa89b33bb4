"""Time from the file of a large photo to its faces, decoded at the size that is needed and at full size.

python -m bench.decode --rounds 5
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from unittest.mock import patch

import cv2
import numpy as np

from bench.speed.ceiling import PICTURE, load
from faceattr_aio.pipeline import Clock
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.faces import FaceOptions
from faceattr_aio.pipelines.faces.predict import FacePipeline
from faceattr_aio.pipelines.imaging import Pixels

MEGAPIXELS = (0.3, 2.0, 12.0, 48.0)
QUALITIES = (75, 95)
GRAIN = 6.0
"""Standard deviation of the noise of a camera: an enlarged picture without noise compresses far too well."""


def photo(megapixels: float, quality: int) -> bytes:
    """A JPEG of 4:3 with one face and the noise of a photo."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    picture = cv2.imread(str(PICTURE))
    assert picture is not None
    large = cv2.resize(picture, (width, width * 3 // 4), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, GRAIN, large.shape)
    grainy: Pixels = np.clip(large + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", grainy, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def milliseconds(pipeline: FacePipeline, file: Path) -> float:
    began = time.perf_counter()
    assert pipeline.predict(file, FaceOptions(), Clock())["faces"], "the face was not found"
    return (time.perf_counter() - began) * 1e3


def measure(pipeline: FacePipeline, file: Path, rounds: int) -> tuple[float, float]:
    """Milliseconds as in production, and with the whole picture decoded; both are measured in each round."""
    reduced, whole = [], []
    for _ in range(rounds):
        reduced.append(milliseconds(pipeline, file))
        with patch.object(imaging, "choose_reduction", lambda *_: 1):
            whole.append(milliseconds(pipeline, file))
    return median(reduced), median(whole)


def report(rounds: int, sizes: Sequence[float] = MEGAPIXELS) -> Iterator[str]:
    """A Markdown table."""
    pipeline = load()
    yield "| megapixels | JPEG | full decoding | reduced decoding | times faster |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"
        for megapixels in sizes:
            for quality in QUALITIES:
                file.write_bytes(photo(megapixels, quality))
                reduced, whole = measure(pipeline, file, rounds)
                size = file.stat().st_size / 1e6
                yield f"| {megapixels} | {size:.2f} MB | {whole:.0f} ms | {reduced:.0f} ms | {whole / reduced:.1f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.decode")
    parser.add_argument("--rounds", type=int, default=5)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for line in report(parser.parse_args(arguments).rounds):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
