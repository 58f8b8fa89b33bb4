"""A pipeline that returns the number in its options and a random word, which differs in every run."""

import secrets
import time
from pathlib import Path

from faceattr_aio.pipeline import Clock, Declaration, LoadSpec, Options, PipelineSettings


class NumberOptions(Options):
    number: int = 0


class NumberSettings(PipelineSettings):
    seconds: float = 0.0


class NumberPipeline:
    """Sleeps for `seconds` before it answers."""

    def __init__(self, plan: LoadSpec) -> None:
        assert isinstance(plan.settings, NumberSettings)
        self.models: dict[str, str] = {}
        self._seconds = plan.settings.seconds

    def predict(self, _: Path, options: NumberOptions, clock: Clock) -> dict[str, object]:
        time.sleep(self._seconds)
        clock.lap("sleep")
        return {"number": options.number, "word": secrets.token_hex(8)}

    def encode(self, _: dict[str, object], __: str, ___: Path) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing to release."""


Numbered = Declaration(
    load="bench.support.numbered:NumberPipeline",
    options=NumberOptions,
    settings=NumberSettings,
    models=lambda _: (),
    repeatable=False,
)
