"""Test pipelines without networks, declared and loaded like real ones."""

import hashlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from faceattr_aio.errors import StartError, UnreadableImage
from faceattr_aio.pipeline import JSON, Clock, Declaration, LoadSpec, Options, PipelineSettings
from tests.support.gate import stop_at


class TrickOptions(Options):
    do: Literal["report", "raise", "refuse", "die", "hang"] = "report"
    times: Annotated[int, Field(ge=1, le=9)] = 1


class TrickSettings(PipelineSettings):
    gate: Path | None = None
    sleep_s: float = 0.0
    broken_while: Path | None = None
    model: Path | None = None


class TrickPipeline:
    """Does what the option `do` says, then returns size and digest of the file and the process id."""

    def __init__(self, plan: LoadSpec) -> None:
        assert isinstance(plan.settings, TrickSettings)
        self._settings = plan.settings
        model = self._settings.model
        self.models = {"trick": hashlib.sha256(model.read_bytes()).hexdigest() if model else "0" * 64}
        if self._settings.broken_while and self._settings.broken_while.exists():
            raise StartError("The trick is broken: repair it.")

    def predict(self, path: Path, options: TrickOptions, clock: Clock) -> dict[str, Any]:
        data = path.read_bytes()
        clock.lap("decode")
        time.sleep(self._settings.sleep_s)
        if self._settings.gate:
            stop_at(self._settings.gate)
        self._do(options.do)
        clock.lap("trick")
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pid": os.getpid()}

    def encode(self, result: dict[str, Any], media_type: str, path: Path) -> bytes:
        return f"{media_type} {result['bytes']} {len(path.read_bytes())}".encode()

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _do(self, what: str) -> None:
        match what:
            case "raise":
                raise ZeroDivisionError("a secret that must not be public")
            case "refuse":
                raise UnreadableImage("The trick refuses this picture.")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(60)


Trick = Declaration(
    load="tests.support.pipelines:TrickPipeline",
    options=TrickOptions,
    settings=TrickSettings,
    models=lambda _: (),
    media_types=(JSON, "image/png"),
    counts={"tricks": lambda _: 1},
    repeatable=False,
)

Steady = replace(Trick, repeatable=True)
"""A pipeline with results that may be cached."""

Drawing = replace(Trick, media_types=("image/png",))
"""A pipeline that returns pictures only."""
