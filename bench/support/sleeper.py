"""A pipeline that sleeps instead of working, to measure the cost of the server itself."""

import time
from pathlib import Path

from faceattr_aio.pipeline import Clock, Declaration, LoadSpec, Options, PipelineSettings


class SleepSettings(PipelineSettings):
    seconds: float = 0.0


class SleepPipeline:
    """Answers with the seconds that it slept."""

    def __init__(self, plan: LoadSpec) -> None:
        assert isinstance(plan.settings, SleepSettings)
        self.models: dict[str, str] = {}
        self._seconds = plan.settings.seconds

    def predict(self, _: Path, __: Options, clock: Clock) -> dict[str, float]:
        time.sleep(self._seconds)
        clock.lap("sleep")
        return {"seconds": self._seconds}

    def encode(self, _: dict[str, float], __: str, ___: Path) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing to release."""


SLEEP = "[pipelines.sleep]\nfactory = 'bench.support.sleeper:Sleep'\npath = '/sleep'\n"
"""Settings of the pipeline; append `seconds`."""

Sleep = Declaration(
    load="bench.support.sleeper:SleepPipeline",
    options=Options,
    settings=SleepSettings,
    models=lambda _: (),
    repeatable=False,
)
