"""What all users of one process share: requests, pictures, the course, and the record of what came of it. Knows no
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
"""The shape that leaves it to Locust: --users, --spawn-rate, --run-time, or its web page."""


class Load:
    """What all users of one process share."""

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
        """Forgets what was before: from the web page there may be several runs."""
        self.recorder = Recorder(self.course)
        self.collapse = Collapse(self.options.window)
        self.stopped: str | None = None
        self.began, self.ended = time.monotonic(), 0.0

    def end(self) -> None:
        self.ended = time.monotonic()

    def tell(self, answer: Answer, seconds: float, picture: str) -> None:
        now = time.monotonic()
        self.collapse.add(now, answer)
        if level := self.recorder.level(now - self.began):
            level.add(answer, seconds, picture)

    def tell_answered(self, seconds: float) -> None:
        if level := self.recorder.level(time.monotonic() - self.began):
            level.answered(seconds)

    def pace_s(self) -> float | None:
        """Seconds from one request of a user to its next, at present; None if users think instead."""
        index = self.course.index(time.monotonic() - self.began)
        return None if index is None else self.course.levels[index].pace_s

    def write(self) -> None:
        """The result, where it is wanted."""
        if self.options.result:
            steps = self.recorder.steps(self.began, self.ended or time.monotonic())
            document = {"stopped": self.stopped, "steps": [step.model_dump() for step in steps]}
            Path(self.options.result).write_text(json.dumps(document))

    def has_collapsed(self) -> bool:
        """Whether nothing comes back any more; the reason is then in `stopped`."""
        self.stopped = self.stopped or self.collapse.reason(time.monotonic())
        return self.stopped is not None

    def report(self, data: dict[str, Any]) -> None:
        """Into what goes to the master; it is forgotten here."""
        data["stress"] = {"levels": self.recorder.ship(), "stopped": self.stopped}

    def take_in(self, data: Mapping[str, Any]) -> None:
        """What a worker reports."""
        self.recorder.take_in(data["stress"]["levels"])
        self.stopped = self.stopped or data["stress"]["stopped"]


def add_options(parser: ArgumentParser) -> None:
    """What a load can be told, beside Locust's own options."""

    def numbers(text: str) -> list[float]:
        return [float(word) for word in text.split(",")]

    add = parser.add_argument_group("stress test").add_argument
    add("--preset", default="faceattr", help="name of a preset, or a TOML file")
    add("--pictures", default="", help="folder of the pictures that are sent")
    add("--picture-url", default="", help="for requests that send an address instead")
    add("--shape", default="steps", choices=[*SHAPES, FREE], help="none: as Locust is told")
    add("--levels", type=numbers, default=list(SPECIFIED), help="users at each step, or requests/s for --shape rate")
    add("--seconds", type=float, default=10.0, help="of each level")
    add("--settle", type=float, default=2.0, help="seconds at the beginning of each that do not count")
    add("--spawn", type=float, default=100.0, help="users that arrive in a second")
    add("--think", type=numbers, default=None, help="pause between requests, from,to in seconds; else the preset's")
    add("--patience", type=float, default=10.0, help="seconds a client waits for an answer")
    add("--honour", action="store_true", help="wait out Retry-After instead of giving up")
    add("--keep-going", action="store_true", help="do not stop when nothing comes back any more")
    add("--window", type=float, default=WINDOW_S, help="seconds that are looked at to tell")
    add("--result", default="", help="file for what was measured")
