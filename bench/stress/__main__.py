"""A stress test from start to report: steps of 1 to 100 users against our server, with clients that give up and with
clients that wait as they are told; then hardly a pause between requests, against ours and against a server whose queue
has no bound. With --url: the first two, against whatever answers there.

    python -m bench.stress [--seconds 10] [--users 1,5,10] [--url http://host:port --preset spec002]

It leaves bench/reports/<date>/. Exit status 1, with --check: a target was missed, or something is worse than last time.
"""

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from bench.served import ROOT
from bench.stress import plots, services
from bench.stress.compare import regressions
from bench.stress.drive import Plan, drive
from bench.stress.measurements import Machine, Measurements, Picture, Run, Targets, latest, read
from bench.stress.pictures import make_folder, read_folder
from bench.stress.report import write
from bench.stress.scrape import scrape
from bench.stress.services import Serve, Service
from bench.stress.shapes import SHAPES, SPECIFIED
from bench.stress.templates import Preset, Request, load_preset
from bench.stress.verdict import verdicts
from bench.stress.watch import Watch, usage

REPORTS = ROOT / "bench" / "reports"
PACKAGES = ("faceattr-aio", "aiohttp", "uvloop", "opencv-python-headless", "numpy", "locust", "gevent", "psutil")
IMPATIENT_S = 1.0
"""How long clients wait that hardly pause: what comes later is of no use to them."""
FAILED = 1


@dataclass(frozen=True)
class Sweep:
    """One run to be done."""

    name: str
    serve: Serve
    plan: Plan


def measure(sweep: Sweep, tell: bool = True) -> Run:
    """Starts the service, does the sweep with everything beside it, and ends it. Raises ServiceFailedError,
    LocustFailedError.
    """
    plan, preset = sweep.plan, load_preset(sweep.plan.preset)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, sweep.serve(_first(preset, plan)) as service:
        print(f"{sweep.name}: {plan.course.seconds:.0f} s ...", flush=True) if tell else None
        folder = Path(name)
        with scrape(service.url, folder) as prometheus, _watched(service) as watch:
            steps, stopped = drive(service.url, plan, folder, lambda pid: _load_is(watch, pid))
            counted = prometheus.count() if prometheus else None
    if watch:
        steps = [
            step.model_copy(update={"usage": usage(watch.samples, step.began_s, step.seconds)}) for step in steps
        ]
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
    """None where there is no process to be seen."""
    watch = Watch(service.pid, service.url) if service.pid else None
    yield watch
    if watch:
        watch.close()


def _load_is(watch: Watch | None, pid: int) -> None:
    if watch:
        watch.load = pid


def _first(preset: Preset, plan: Plan) -> Request:
    """The first good request of a preset, which tells whether the service is there."""
    template = next(template for template in preset.requests if not template.broken)
    return template.fill(read_folder(plan.pictures)[0].data, plan.picture_url or preset.picture_url)


def sweeps(plan: Plan, url: str | None, pid: int | None) -> list[Sweep]:
    """What is to be done, the run that is judged first."""
    serve = services.serve_at(url, pid) if url else services.serve_ours
    name = "service" if url else "ours"
    found = [
        Sweep(f"{name}, clients give up", serve, plan),
        Sweep(f"{name}, clients honour Retry-After", serve, replace(plan, honour=True)),
    ]
    if url is None:
        hasty = replace(plan, preset="plain", think_s=None, patience_s=IMPATIENT_S, keep_going=True)
        found.append(Sweep("ours, hardly a pause", serve, hasty))
        found.append(Sweep("unbounded queue, hardly a pause", services.serve_unbounded, hasty))
    return found


def describe_machine() -> Machine:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        python=platform.python_version(),
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    def numbers(text: str) -> tuple[float, ...]:
        return tuple(float(word) for word in text.split(","))

    parser = argparse.ArgumentParser(prog="python -m bench.stress")
    add = parser.add_argument
    add("--url", help="a service that runs already; else ours is started, and what it is compared with")
    add("--pid", type=int, help="of that service on this machine, to see what it uses")
    add("--preset", default="faceattr", help="requests: a name in bench/stress/presets, or a TOML file")
    add("--pictures", type=Path, help="folder; else a portrait in several sizes")
    add("--picture-url", default="", help="for requests that send an address")
    add("--shape", default="steps", choices=sorted(SHAPES))
    add("--users", type=numbers, default=SPECIFIED, help="levels of load; requests/s for --shape rate")
    add("--seconds", type=float, default=10.0, help="of each level")
    add("--settle", type=float, default=2.0, help="seconds of each that do not count")
    add("--spawn", type=float, default=100.0, help="users that arrive in a second")
    add("--think", type=numbers, help="from,to seconds between requests; else the preset's")
    add("--patience", type=float, default=10.0, help="seconds a client waits for an answer")
    add("--least-goodput", type=float, help="target, right answers a second")
    add("--most-mean-ms", type=float, default=300.0)
    add("--most-p99-ms", type=float, default=1000.0)
    add("--most-failed", type=float, default=0.005, help="a share")
    add("--reports", type=Path, default=REPORTS)
    add("--plot", type=Path, help="file for the main plot too")
    add("--check", action="store_true", help="exit status 1 for a missed target, or one that is worse")
    return parser.parse_args(arguments)


def _plan(chosen: argparse.Namespace, pictures: Path) -> Plan:
    return Plan(
        preset=chosen.preset,
        pictures=pictures,
        levels=chosen.users,
        shape=chosen.shape,
        seconds=chosen.seconds,
        settle_s=chosen.settle,
        think_s=chosen.think,
        spawn=chosen.spawn,
        patience_s=chosen.patience,
        picture_url=chosen.picture_url,
    )


def _targets(chosen: argparse.Namespace) -> Targets:
    return Targets(
        least_goodput_per_s=chosen.least_goodput,
        most_mean_ms=chosen.most_mean_ms,
        most_p99_ms=chosen.most_p99_ms,
        most_failed=chosen.most_failed,
    )


def run_all(chosen: argparse.Namespace, command: str) -> Measurements:
    """Every sweep, one after the other."""
    made, began = datetime.now(UTC), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        pictures = chosen.pictures or make_folder(Path(name))
        runs = [measure(sweep) for sweep in sweeps(_plan(chosen, pictures), chosen.url, chosen.pid)]
        sent = [Picture(name=picture.name, bytes=len(picture.data)) for picture in read_folder(pictures)]
    return Measurements(
        made=made.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        command=command,
        machine=describe_machine(),
        versions={package: version(package) for package in PACKAGES},
        pictures=sent,
        targets=_targets(chosen),
        runs=runs,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    found = run_all(chosen, shlex.join(["python", "-m", "bench.stress", *(arguments or sys.argv[1:])]))
    folder = chosen.reports / found.made.partition("+")[0].replace(":", "-")
    folder.mkdir(parents=True)
    found.write(folder)
    last = latest(chosen.reports, [folder])
    before = read(last) if last else None
    print(write(found, folder, before))
    if chosen.plot:
        plots.save(plots.goodput([run for run in found.runs if "hardly" in run.name] or found.runs), chosen.plot)
    missed = [verdict.target for verdict in verdicts(found.runs[0], found.targets) if not verdict.kept]
    worse = regressions(before, found) if before else []
    print("\n".join([f"missed: {target}" for target in missed] + [f"worse: {one}" for one in worse]) or "all kept")
    return FAILED if chosen.check and (missed or worse) else 0


if __name__ == "__main__":
    sys.exit(main())
