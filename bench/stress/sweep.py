"""Runs one sweep: starts a service, its users and the measurements of its resources, and stops the service."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.stress.drive import Plan, drive
from bench.stress.measurements import Run
from bench.stress.pictures import read_folder
from bench.stress.scrape import scrape
from bench.stress.services import Serve, Service
from bench.stress.templates import Preset, Request, load_preset
from bench.stress.watch import Watch, usage


@dataclass(frozen=True)
class Sweep:
    """A run with its service and its plan."""

    name: str
    serve: Serve
    plan: Plan


def measure(sweep: Sweep) -> Run:
    """Start the service, run the sweep, and stop the service. Raises ServiceFailedError, LocustFailedError."""
    plan, preset = sweep.plan, load_preset(sweep.plan.preset)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, sweep.serve(_first(preset, plan)) as service:
        folder = Path(name)
        with scrape(service.url, folder) as prometheus, _watched(service) as watch:
            steps, stopped = drive(service.url, plan, folder, lambda pid: _load_is(watch, pid))
            counted = prometheus.count() if prometheus else None
    if watch:
        steps = [step.model_copy(update={"usage": usage(watch.samples, step.began_s, step.seconds)}) for step in steps]
    return Run(
        name=sweep.name,
        service=service.name,
        preset=plan.preset,
        honours_retry_after=plan.honour,
        think_s=plan.think_s or preset.think_s,
        patience_s=plan.patience_s,
        shape=plan.shape,
        settings=service.settings,
        stopped=stopped,
        steps=steps,
        start=service.start,
        prometheus=counted,
    )


@contextmanager
def _watched(service: Service) -> Iterator[Watch | None]:
    """Watch the service; yields None if its process is not accessible."""
    if service.pid is None:
        yield None
        return
    watch = Watch(service.pid, service.url)
    try:
        yield watch
    finally:
        watch.close()


def _load_is(watch: Watch | None, pid: int) -> None:
    if watch:
        watch.load = pid


def _first(preset: Preset, plan: Plan) -> Request:
    """The first valid request of a preset, which shows whether the service answers."""
    template = next(template for template in preset.requests if not template.broken)
    return template.fill(read_folder(plan.pictures)[0].data, plan.picture_url or preset.picture_url)
