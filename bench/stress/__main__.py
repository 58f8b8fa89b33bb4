"""A stress test from start to report: steps of 1 to 100 users against this package's server, with clients that give up
after a refusal and with clients that honour `Retry-After`; then almost no pause between requests, against this server
and against a server with an unbounded queue. With --url: the first two runs, against the service at that address.

    python -m bench.stress [--seconds 10] [--users 1,5,10] [--url http://host:port --preset spec002]

The result is the folder bench/reports/<date>/. Exit status 1, with --check: a target was missed, or something is worse
than in the last run.
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.stress import plots, services
from bench.stress.compare import regressions
from bench.stress.drive import Plan
from bench.stress.machine import describe_machine, versions
from bench.stress.measurements import Measurements, Picture, Targets, latest, read
from bench.stress.pictures import SIDE, make_folder, read_folder
from bench.stress.report import write
from bench.stress.shapes import SHAPES, SPECIFIED
from bench.stress.sweep import Sweep, measure
from bench.stress.verdict import verdicts
from bench.support.served import ROOT

REPORTS = ROOT / "bench" / "reports"
IMPATIENT_S = 1.0
"""Patience of clients that almost never pause; later answers are useless to them."""
FAILED = 1


def sweeps(plan: Plan, url: str | None, pid: int | None, one: Path) -> list[Sweep]:
    """The sweeps to run; the first is the one that is judged. The comparison sends the pictures of folder `one`."""
    serve = services.serve_at(url, pid) if url else services.serve_ours
    name = "service" if url else "ours"
    found = [
        Sweep(f"{name}, clients give up", serve, plan),
        Sweep(f"{name}, clients honour Retry-After", serve, replace(plan, honour=True)),
    ]
    if url is None:
        hasty = replace(plan, preset="plain", pictures=one, think_s=None, patience_s=IMPATIENT_S, keep_going=True)
        found.append(Sweep("ours, almost no pause", serve, hasty))
        found.append(Sweep("unbounded queue, almost no pause", services.serve_unbounded, hasty))
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    def numbers(text: str) -> tuple[float, ...]:
        return tuple(float(word) for word in text.split(","))

    parser = argparse.ArgumentParser(prog="python -m bench.stress")
    add = parser.add_argument
    add("--url", help="a running service; default: start this one and the one for comparison")
    add("--pid", type=int, help="process id of that service on this machine, to measure its resources")
    add("--preset", default="faceattr", help="requests: a name in bench/stress/presets, or a TOML file")
    add("--pictures", type=Path, help="folder; default: a portrait in several sizes")
    add("--picture-url", default="", help="address that is sent by requests with a picture URL")
    add("--shape", default="steps", choices=sorted(SHAPES))
    add("--users", type=numbers, default=SPECIFIED, help="levels of load; requests/s for --shape rate")
    add("--seconds", type=float, default=10.0, help="duration of each level")
    add("--settle", type=float, default=2.0, help="seconds of each level that do not count")
    add("--spawn", type=float, default=100.0, help="users that start in a second")
    add(
        "--think",
        type=numbers,
        help="shortest and longest pause between requests in seconds, as from,to; default: the preset's",
    )
    add("--patience", type=float, default=10.0, help="seconds that a client waits for an answer")
    add("--least-goodput", type=float, help="target: accepted answers a second")
    add("--most-mean-ms", type=float, default=300.0, help="target: mean of accepted answers")
    add("--most-p99-ms", type=float, default=1000.0, help="target: 99th percentile of accepted answers")
    add("--most-failed", type=float, default=0.005, help="target: share of failed requests")
    add("--reports", type=Path, default=REPORTS)
    add("--plot", type=Path, help="also write the main plot to this file")
    add(
        "--check",
        action="store_true",
        help="exit status 1 if a target is missed or something is worse than in the last run",
    )
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
    """Run every sweep, one after the other."""
    made, began = datetime.now(UTC), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        pictures = chosen.pictures or make_folder(Path(name) / "mixed")
        one = chosen.pictures or make_folder(Path(name) / "one", (SIDE,))
        runs = []
        for sweep in sweeps(_plan(chosen, pictures), chosen.url, chosen.pid, one):
            print(f"{sweep.name}: {sweep.plan.course.seconds:.0f} s", flush=True)
            runs.append(measure(sweep))
        sent = [Picture(name=picture.name, bytes=len(picture.data)) for picture in read_folder(pictures)]
    return Measurements(
        made=made.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        command=command,
        machine=describe_machine(),
        versions=versions(),
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
        plots.save(
            plots.goodput([run for run in found.runs if "almost no pause" in run.name] or found.runs), chosen.plot
        )
    missed = [verdict.target for verdict in verdicts(found.runs[0], found.targets) if not verdict.kept]
    worse = regressions(before, found) if before else []
    print(
        "\n".join([f"missed: {target}" for target in missed] + [f"worse: {one}" for one in worse]) or "all targets met"
    )
    return FAILED if chosen.check and (missed or worse) else 0


if __name__ == "__main__":
    sys.exit(main())
