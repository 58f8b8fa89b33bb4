"""State that the users of one process share: requests, pictures, the course, and the record of results. Does not import
Locust.
"""

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.stress.answers import Answer
from bench.stress.pictures import read_folder
from bench.stress.record import Recorder
from bench.stress.shapes import SHAPES, SPECIFIED, Course
from bench.stress.stop import WINDOW_S, Collapse
from bench.stress.templates import load_preset

FREE = "none"
"""The shape that leaves the number of users to Locust: --users, --spawn-rate, --run-time, or its web page."""


class Load:
    """State that the users of one process share."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.preset = load_preset(options.preset)
        self.pictures = read_folder(Path(options.pictures)) if options.pictures else []
        self.think_s: Sequence[float] = options.think or self.preset.think_s
        self.picture_url = options.picture_url or self.preset.picture_url
        make = SHAPES.get(options.shape)
        self.course = Course(make(options.levels, options.seconds, options.settle, options.patience) if make else [])
        self.start()

    def start(self) -> None:
        """Reset the results: the web page can start several runs."""
        self.recorder = Recorder(self.course)
        self.collapse = Collapse(self.options.window)
        self.stopped: str | None = None
        self.began, self.ended = time.monotonic(), 0.0

    def end(self) -> None:
        self.ended = time.monotonic()

    def record(self, answer: Answer, seconds: float, picture: str) -> None:
        now = time.monotonic()
        self.collapse.add(now, answer)
        if level := self.recorder.level(now - self.began):
            level.add(answer, seconds, picture)

    def record_answered(self, seconds: float) -> None:
        if level := self.recorder.level(time.monotonic() - self.began):
            level.answered(seconds)

    def pace_s(self) -> float | None:
        """Seconds from one request of a user to the next at present; None if users think instead."""
        index = self.course.index(time.monotonic() - self.began)
        return None if index is None else self.course.levels[index].pace_s

    def write(self) -> None:
        """Write the result to the file of --result, if it is given."""
        if self.options.result:
            steps = self.recorder.steps(self.began, self.ended or time.monotonic())
            document = {"stopped": self.stopped, "steps": [step.model_dump() for step in steps]}
            Path(self.options.result).write_text(json.dumps(document))

    def has_collapsed(self) -> bool:
        """Return whether the run must end because most requests fail; sets `stopped` to the reason."""
        self.stopped = self.stopped or self.collapse.reason(time.monotonic())
        return self.stopped is not None

    def report(self, data: dict[str, Any]) -> None:
        """Add the results to the report for the master, and reset them."""
        data["stress"] = {"levels": self.recorder.export(), "stopped": self.stopped}

    def merge(self, data: Mapping[str, Any]) -> None:
        """Add the results of a worker."""
        self.recorder.merge(data["stress"]["levels"])
        self.stopped = self.stopped or data["stress"]["stopped"]


def add_options(parser: ArgumentParser) -> None:
    """Add the options of a load to those of Locust."""

    def numbers(text: str) -> list[float]:
        return [float(word) for word in text.split(",")]

    add = parser.add_argument_group("stress test").add_argument
    add("--preset", default="faceattr", help="name of a preset, or a TOML file")
    add("--pictures", default="", help="folder of pictures to send")
    add("--picture-url", default="", help="address that is sent by requests with a picture URL")
    add("--shape", default="steps", choices=[*SHAPES, FREE], help="none: controlled by Locust's options")
    add("--levels", type=numbers, default=list(SPECIFIED), help="users at each step, or requests/s for --shape rate")
    add("--seconds", type=float, default=10.0, help="duration of each level")
    add("--settle", type=float, default=2.0, help="seconds at the start of each level that do not count")
    add("--spawn", type=float, default=100.0, help="users that start in a second")
    add(
        "--think",
        type=numbers,
        default=None,
        help="shortest and longest pause between requests in seconds, as from,to; default: the preset's",
    )
    add("--patience", type=float, default=10.0, help="seconds that a client waits for an answer")
    add("--honour", action="store_true", help="honour Retry-After and retry instead of giving up")
    add("--keep-going", action="store_true", help="do not end the run early when most requests fail")
    add("--window", type=float, default=WINDOW_S, help="seconds of requests by which this is decided")
    add("--result", default="", help="file for the results")
