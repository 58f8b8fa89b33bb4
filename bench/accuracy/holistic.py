"""Distance of the landmarks from those of MediaPipe, and the speed of both on the same cores in one run.

python -m bench.holistic FOLDER [--working-side 480] [--complexity 1] [--mediapipe PYTHON --cores 1 --rounds 5]

FOLDER contains pictures and `landmarks.json`: for each picture, MediaPipe's lists of normalised points by part. PYTHON
is the interpreter of a separate environment with `mediapipe==0.10.21`; without it nothing is timed.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from faceattr_aio.config.schema import Config
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines.holistic import PARTS, Holistic, HolisticOptions, Part
from faceattr_aio.pipelines.holistic.predict import HolisticPipeline
from faceattr_aio.pipelines.imaging import Floats

Points = dict[Part, Floats | None]

THEIRS = """
import sys, time
import cv2
from mediapipe.python.solutions.holistic import Holistic
files, side = sys.argv[2:], int(sys.argv[1])
holistic = Holistic(static_image_mode=True)
def work(file):
    pixels = cv2.imread(file)
    scale = side / max(pixels.shape)
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    holistic.process(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
work(files[0])
print("ready", flush=True)
for _ in sys.stdin:
    began = time.perf_counter()
    for file in files:
        work(file)
    print((time.perf_counter() - began) / len(files), flush=True)
"""
"""For each line of input, processes every file with MediaPipe and prints the seconds for one."""


@dataclass(frozen=True)
class Row:
    """One picture: mean distances of the parts that both found, as shares of the diagonal of the pose's box; and
    whether both found the same parts.
    """

    name: str
    distances: dict[Part, float]
    agrees: bool


def load() -> HolisticPipeline:
    """Load the pipeline as a worker does, with default settings."""
    config = Config(pipelines={"holistic": {}})
    settings, store = config.pipelines["holistic"].settings, ModelStore(config.models.dir)
    files = {name: store.verify(name) for name in Holistic.models(settings)}
    return HolisticPipeline(LoadSpec(Holistic.load, settings, files, config.image.working_side, own_process=True))


def compare(pipeline: HolisticPipeline, folder: Path, options: HolisticOptions) -> list[Row]:
    """Compare all pictures of the folder."""
    expected = json.loads((folder / "landmarks.json").read_text())
    return [_row(name, pipeline.predict(folder / name, options, Clock()), theirs) for name, theirs in expected.items()]


def _row(name: str, answer: dict[str, Any], theirs: dict[str, Any]) -> Row:
    size = answer["image"]["width"], answer["image"]["height"]
    expected: Points = {part: _places(theirs[f"{part}_landmarks"], size) for part in PARTS}
    found: Points = {part: _places([[p["x"], p["y"]] for p in answer["landmarks"][part]], size) for part in PARTS}
    return judge(name, found, expected)


def _places(points: Sequence[Sequence[float]] | None, size: tuple[int, int]) -> Floats | None:
    return np.array([point[:2] for point in points]) * size if points else None


def judge(name: str, found: Points, expected: Points) -> Row:
    """Compare one picture. Points are in pixels. The person's box is that of the expected pose."""
    pose = expected["pose"]
    assert pose is not None
    diagonal = np.linalg.norm(np.ptp(pose, axis=0))
    both = {
        part: (ours, theirs)
        for part in PARTS
        if (ours := found[part]) is not None and (theirs := expected[part]) is not None
    }
    distances = {part: float(np.linalg.norm(a - b, axis=1).mean() / diagonal) for part, (a, b) in both.items()}
    return Row(name, distances, all((found[part] is None) == (expected[part] is None) for part in PARTS))


def mean_distance(rows: list[Row], *parts: Part) -> float:
    """The mean over all pictures in which both found one of the parts."""
    return mean(row.distances[part] for row in rows for part in parts if part in row.distances)


def report(rows: list[Row]) -> Iterator[str]:
    """The figures, one in each line."""
    yield f"{'':20}" + "".join(f"{part:>12}" for part in PARTS) + "   same parts"
    for row in rows:
        cells = (f"{row.distances[part]:12.2%}" if part in row.distances else f"{'-':>12}" for part in PARTS)
        yield f"{row.name:20}{''.join(cells)}   {'yes' if row.agrees else 'no'}"
    means = (f"{mean_distance(rows, part):12.2%}" for part in PARTS)
    yield f"{'mean':20}{''.join(means)}   {sum(row.agrees for row in rows)} of {len(rows)}"


def ours_ms(pipelines: Sequence[HolisticPipeline], files: Sequence[Path], options: HolisticOptions) -> float:
    """Milliseconds for a picture, with one thread for each pipeline."""

    def work(pipeline: HolisticPipeline) -> None:
        for file in files:
            pipeline.predict(file, options, Clock())

    began = time.perf_counter()
    with ThreadPoolExecutor(len(pipelines)) as threads:
        list(threads.map(work, pipelines))
    return (time.perf_counter() - began) / len(files) / len(pipelines) * 1e3


@contextmanager
def theirs_ms(python: Path, files: Sequence[Path], side: int) -> Iterator[Callable[[], float]]:
    """Yield a function that processes the files with MediaPipe and returns its milliseconds for one."""
    command = [str(python), "-c", THEIRS, str(side), *map(str, files)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603  # the interpreter is given on the command line
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        assert stdout.readline() == "ready\n", f"{python} has no mediapipe"

        def ask() -> float:
            print("go", file=stdin, flush=True)
            return float(stdout.readline()) * 1e3

        yield ask
        stdin.close()


def race(
    python: Path, files: Sequence[Path], options: HolisticOptions, pipelines: Sequence[HolisticPipeline], rounds: int
) -> Iterator[str]:
    """Measure both in each round, so that drift of the machine cancels out."""
    with theirs_ms(python, files, options.working_side) as theirs:
        times = [
            (ours_ms(pipelines[:1], files, options), ours_ms(pipelines, files, options), theirs())
            for _ in range(rounds)
        ]
    yield f"milliseconds for a picture, from file to landmarks: median and least of {rounds} rounds"
    names = "faceattr_aio, one worker", f"faceattr_aio, {len(pipelines)} worker(s)", "MediaPipe"
    for name, one in zip(names, zip(*times, strict=True), strict=True):
        yield f"{name:28}{median(one):8.1f}{min(one):8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Landmarks and speed compared with MediaPipe.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--working-side", type=int, default=480)
    parser.add_argument("--complexity", type=int, default=1)
    parser.add_argument("--mediapipe", type=Path, help="an interpreter that has mediapipe")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    options = HolisticOptions(working_side=asked.working_side, complexity=asked.complexity)
    rows = compare(load(), asked.folder, options)
    print("\n".join(report(rows)))
    if asked.mediapipe:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.cores])
        files, pipelines = [asked.folder / row.name for row in rows], [load() for _ in range(asked.cores)]
        print("\n".join(race(asked.mediapipe, files, options, pipelines, asked.rounds)))


if __name__ == "__main__":
    main()
