"""The pipelines `holistic` and `anime` under the load of specifications 002 and 003: a server on the first core, and 10
to 100 users, in steps, on the others, who think for 1 to 3 s.

    python -m bench.pipelines holistic [options of bench.stress]
    python -m bench.pipelines anime [--file generator.onnx] [--backend openvino] [options of bench.stress]

Pictures are 640 x 480, and a selfie of 1 MB. Without a file, the generator has the same architecture and size with
random weights, and takes the same time. The report contains the specification's table next to the measured one. A
conversion takes so long that few requests are admitted; clients wait for up to half a minute.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from bench.stress import __main__ as stress
from bench.stress.pictures import PORTRAIT
from bench.support.generator import write_generator
from bench.support.served import QUIET, UNCACHED, server_core, start_server

USERS = "10,20,30,40,50,60,80,100"
_MEGABYTE, _SELFIE = 1_000_000, (1500, 2000)


def small(folder: Path) -> None:
    """A portrait of 640 x 480."""
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    padded = cv2.copyMakeBorder(cv2.resize(portrait, (480, 480)), 0, 0, 80, 80, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(folder / "640x480.jpg"), padded)


def selfie(folder: Path) -> None:
    """A portrait as a telephone takes it: three megapixels and 1 MB, with noise."""
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    large = cv2.resize(portrait, _SELFIE, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grainy = large + np.random.default_rng(0).normal(0, 4, large.shape)
    pixels, quality = grainy.clip(0, 255).astype(np.uint8), 95
    while len(data := cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]) > _MEGABYTE:
        quality -= 1
    (folder / "selfie.jpg").write_bytes(data.tobytes())


def settings(workers: int, drawer: Path | None, backend: str) -> str:
    """Settings of the server, as TOML."""
    if drawer is None:
        return f"{UNCACHED}[inference]\nworkers = {workers}\n[pipelines.holistic]\n"
    inference = f"[inference]\nworkers = {workers}\nlimit = {3 * workers}\ntimeout_s = 30\n"
    anime = f'[pipelines.anime]\nbackend = "{backend}"\nstyles = []\nfiles = {{ measured = "{drawer}" }}\n'
    return f"{UNCACHED}{inference}{anime}"


PICTURES: Mapping[str, Callable[[Path], None]] = {"holistic": small, "anime": selfie}
PRESETS = {"holistic": "holistic", "anime": "spec003"}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.pipelines",
        epilog="And options of bench.stress, for example --seconds, --settle, --think, --reports.",
    )
    parser.add_argument("pipeline", choices=PICTURES)
    parser.add_argument("--file", type=Path, help="a generator in ONNX; default: one with random weights")
    parser.add_argument("--backend", default="cv2", choices=["cv2", "openvino"], help="backend of the generator")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--users", default=USERS)
    chosen, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name, server_core() as core:
        folder, pictures = Path(name), Path(name) / "pictures"
        pictures.mkdir()
        PICTURES[chosen.pipeline](pictures)
        anime = chosen.pipeline == "anime"
        drawer = (chosen.file or write_generator(folder / "measured.onnx")).absolute() if anime else None
        server = start_server(folder, settings(chosen.workers, drawer, chosen.backend), QUIET, {core})
        try:
            where = ["--url", server.url, "--pid", str(server.pid), "--pictures", str(pictures)]
            load = ["--preset", PRESETS[chosen.pipeline], "--users", chosen.users, "--patience", "30"]
            return stress.main([*where, *load, *others])
        finally:
            server.kill_all()


if __name__ == "__main__":
    sys.exit(main())
