"""Pictures a second of the pipeline alone on one core: without HTTP, queue or second process.

python -m bench.ceiling --seconds 10 [--backend cv2|openvino]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from bench.support.served import ROOT, environment
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import Backend
from faceattr_aio.pipelines.faces import FaceAttributes, FaceOptions
from faceattr_aio.pipelines.faces.predict import FacePipeline

PICTURE = ROOT / "docs" / "astronaut.jpg"
_WARM_UP = 10


def load(backend: Backend = "cv2") -> FacePipeline:
    """Load the pipeline as a worker does, with default settings."""
    config = Config(pipelines={"faces": {"backend": backend}})
    settings, store = config.pipelines["faces"].settings, ModelStore(config.models.dir)
    files = {name: store.verify(name) for name in FaceAttributes.models(settings)}
    return FacePipeline(LoadSpec(FaceAttributes.load, settings, files, config.image.working_side, own_process=True))


def rate(work: Callable[[], object], seconds: float) -> float:
    """Calls a second of `work`, made one after another."""
    for _ in range(_WARM_UP):
        work()
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        work()
        done += 1
    return done / spent


def measure(seconds: float, core: int, picture: Path = PICTURE) -> float:
    """Pictures a second on one core, measured in a separate process."""
    command = [sys.executable, "-m", "bench.ceiling", "--seconds", str(seconds), "--core", str(core), str(picture)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(), cwd=ROOT)  # noqa: S603  # this module
    return float(ran.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ceiling")
    parser.add_argument("picture", type=Path, nargs="?", default=PICTURE)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--backend", choices=["cv2", "openvino"], default="cv2")
    chosen = parser.parse_args(arguments)
    os.sched_setaffinity(0, {chosen.core})
    pipeline = load(chosen.backend)
    rates = [
        rate(lambda: pipeline.predict(chosen.picture, FaceOptions(), Clock()), chosen.seconds)
        for _ in range(chosen.rounds)
    ]
    print(f"{median(rates):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
