"""Runs Locust as a separate program without its web page, and returns the results of its users."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stress.measurements import Step
from bench.stress.shapes import SHAPES, SPECIFIED, Course
from bench.stress.stop import WINDOW_S
from bench.support.served import ROOT, environment

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
STARTING_S = 30.0
"""Time for Locust to start and to end, in addition to the course."""
STOPPED = 3


class LocustFailedError(Exception):
    """Locust ended with an error; the message has the end of its output."""


@dataclass(frozen=True)
class Plan:
    """The options of locustfile.py. Levels are users, or requests/s for shape `rate`."""

    preset: str
    pictures: Path
    levels: tuple[float, ...] = SPECIFIED
    shape: str = "steps"
    seconds: float = 10.0
    settle_s: float = 2.0
    think_s: tuple[float, float] | None = None
    spawn: float = 100.0
    patience_s: float = 10.0
    honour: bool = False
    keep_going: bool = False
    window_s: float = WINDOW_S
    picture_url: str = ""

    @property
    def course(self) -> Course:
        return Course(SHAPES[self.shape](self.levels, self.seconds, self.settle_s, self.patience_s))

    def arguments(self) -> list[str]:
        found = [f"--preset={self.preset}", f"--pictures={self.pictures}", f"--shape={self.shape}"]
        found += [f"--levels={','.join(f'{level:g}' for level in self.levels)}", f"--patience={self.patience_s:g}"]
        found += [f"--seconds={self.seconds:g}", f"--settle={self.settle_s:g}", f"--spawn={self.spawn:g}"]
        found += [f"--window={self.window_s:g}"]
        found += [f"--picture-url={self.picture_url}"] if self.picture_url else []
        found += [f"--think={self.think_s[0]:g},{self.think_s[1]:g}"] if self.think_s else []
        return found + ["--honour"] * self.honour + ["--keep-going"] * self.keep_going


def locust(*arguments: str) -> list[str]:
    """The command that runs the users with these arguments."""
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel=WARNING", *arguments]


def drive(
    url: str, plan: Plan, folder: Path, started: Callable[[int], None] = lambda _: None
) -> tuple[list[Step], str | None]:
    """Return the steps, and the reason of an early end or None. `started` is called with Locust's process id. Raises
    LocustFailedError.
    """
    result = folder / "result.json"
    arguments: Sequence[str] = ["--headless", "--only-summary", f"--host={url}", f"--result={result}"]
    process = subprocess.Popen(  # noqa: S603  # a command of this module
        locust(*arguments, *plan.arguments()),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    started(process.pid)
    try:
        _, errors = process.communicate(timeout=plan.course.seconds + plan.patience_s + STARTING_S)
    finally:
        process.kill()
    return read_result(result, process.returncode, errors)


def read_result(result: Path, status: int, errors: str) -> tuple[list[Step], str | None]:
    """Read the result of locustfile.py. Raises LocustFailedError."""
    if not result.exists():
        raise LocustFailedError(f"Locust ended with exit status {status}: {errors.strip()[-2000:] or 'no output'}")
    document = json.loads(result.read_text())
    return [Step.model_validate(step) for step in document["steps"]], document["stopped"]
