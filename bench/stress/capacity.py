"""Plans capacity for a number of users: cores and instances, times, refusals, cost and the first bottleneck. A model is
fitted to this machine, then simulated.

    python -m bench.stress.capacity --users 100 1000 --think 1 3 --p99 500 --price 0.04

Exit status 1: no plan meets the targets, or the size of the simulation affects the result.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from bench.stress import connections, model, picture_mix, proxy_cost, reading
from bench.stress.connections import Held
from bench.stress.instance import Size
from bench.stress.interference import QUIET_ENOUGH, undisturbed
from bench.stress.limits import Machine, limits
from bench.stress.model import Model
from bench.stress.observe import by_cores, observe
from bench.stress.planning import Demand, UnreachableError, follow, plan, share_matters
from bench.stress.simulation import Rule
from bench.stress.table import Row, describe_growth, describe_limits, describe_model, head
from bench.stress.validate import REAL, MeasureOptions, started
from bench.support.served import ROOT, server_core

REPORTS = ROOT / "bench" / "reports"
USERS = (100, 1_000, 10_000, 100_000, 1_000_000)
MOST_MATTERS = 0.1
FAILED = 1
MEASURED = Machine(0.00014, 5_000, "docs/capacity.md")
"""Figures of docs/capacity.md, used if nothing is measured now."""


def learn(folder: Path | None, options: MeasureOptions) -> Model:
    """The model of one instance with one worker on one core of this machine."""
    shown = picture_mix.read_folder(folder) if folder else picture_mix.scaled_portraits()
    with server_core() as core, started(REAL, 1, core) as (server,):
        observed, others = options.measure(partial(observe, server, REAL.path, REAL.size, shown, options.seconds))
    rates, beside = undisturbed(lambda: by_cores(options.seconds), options.tries, options.patience_s)
    if max(others, beside) > QUIET_ENOUGH:
        print(f"Other programs used {max(others, beside):.0%} of the machine: measure again.", file=sys.stderr)
    return model.fit(observed, rates)


def find_model(chosen: argparse.Namespace) -> Model:
    """Load the model from a file or the newest report, or measure it."""
    if chosen.model:
        return model.load(chosen.model)
    report = reading.newest(chosen.reports) if chosen.report and not chosen.pictures else None
    if report is None:
        print("measuring one instance", file=sys.stderr)
        return learn(chosen.pictures, MeasureOptions(chosen.seconds, tries=3, patience_s=20.0))
    observed, users = reading.read(report)
    print(f"Fitted to {report}: goodput is highest at {users.peak:.0f} users (contention {users.contention:.3f}).")
    return model.fit(observed, by_cores(chosen.seconds))


def find_machine(chosen: argparse.Namespace, held: Sequence[Held]) -> Machine:
    """The balancing machine, measured here if possible."""
    nginx = next((one for one in held if one.what == "nginx"), None)
    if nginx is None:
        cpu_s, each, source = MEASURED.request_cpu_s, MEASURED.connection_bytes, MEASURED.source
    else:
        cpu_s, each, source = (
            proxy_cost.request_cpu_s(chosen.seconds),
            nginx.server_bytes + nginx.kernel_bytes,
            "measured",
        )
    return Machine(cpu_s, each, source, chosen.card, chosen.memory, chosen.balancer_cores)


def rows(fitted: Model, machine: Machine, chosen: argparse.Namespace) -> Iterator[Row]:
    """Plan for each number of users. Raises UnreachableError."""
    size = Size(chosen.workers, chosen.limit or 4 * chosen.workers, chosen.workers)
    for users in chosen.users:
        demand = Demand(users, tuple(chosen.think), chosen.p99 / 1e3, chosen.refused, not chosen.give_up)
        planned = plan(fitted, demand, size, chosen.rule)
        yield Row(planned, limits(planned, fitted.mean_bytes, machine), chosen.price)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.capacity")
    add = parser.add_argument
    add("--users", type=int, nargs="+", default=USERS)
    add(
        "--think",
        type=float,
        nargs=2,
        default=(1.0, 3.0),
        help="shortest and longest pause between two requests, in seconds",
    )
    add("--p99", type=float, default=500.0, help="target: milliseconds for 99 of 100 answers")
    add("--refused", type=float, default=0.001, help="target: share of refused requests")
    add("--give-up", action="store_true", help="refused users do not retry after Retry-After")
    add("--workers", type=int, default=2, help="workers and cores of an instance")
    add("--limit", type=int, help="requests in flight in an instance; default: 4 for each worker")
    add("--rule", choices=get_args(Rule), default="least_conn", help="how the balancer chooses an instance")
    add(
        "--autoscale",
        type=float,
        metavar="S",
        help="simulate that instances follow users who arrive at once; S seconds to start one",
    )
    add("--price", type=float, help="price of a core for an hour")
    add("--card", type=float, default=MEASURED.card_gbit, help="Gbit/s of a balancer's network card")
    add("--memory", type=float, default=MEASURED.memory_gb, help="GB of a balancer")
    add("--balancer-cores", type=int, default=MEASURED.cores, help="cores of a balancer")
    add("--pictures", type=Path, help="folder; default: one portrait in four sizes")
    add("--reports", type=Path, default=REPORTS, help="folder of the reports of stress tests")
    add("--report", action="store_true", help="fit to the newest report, if there is one, instead of measuring")
    add("--model", type=Path, help="a saved model")
    add("--save", type=Path, help="file for the model")
    add("--seconds", type=float, default=4.0, help="duration of each measurement")
    add(
        "--connections",
        type=int,
        default=connections.COUNT,
        help="connections to open here; 0: use the figures of docs/capacity.md",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    fitted = find_model(chosen)
    if chosen.save:
        model.save(fitted, chosen.save)
    held = connections.measure(chosen.connections) if chosen.connections else []
    machine = find_machine(chosen, held)
    print(*describe_model(fitted, Size(chosen.workers, 0, chosen.workers)), *(one.line() for one in held), "", sep="\n")
    return report(fitted, machine, chosen)


def report(fitted: Model, machine: Machine, chosen: argparse.Namespace) -> int:
    """Print the table. Return the exit status."""
    print(head(chosen.price))
    found = []
    try:
        for row in rows(fitted, machine, chosen):
            found.append(row.plan)
            print(row.line(), flush=True)
    except UnreachableError as error:
        print(error, file=sys.stderr)
        return FAILED
    matters, last = share_matters(fitted, row.plan, chosen.rule), row.plan
    if chosen.autoscale is not None:
        print("", "Growth from half of these instances when all users arrive at once:", sep="\n")
        print(*(describe_growth(one, follow(fitted, one, chosen.rule, chosen.autoscale)) for one in found), sep="\n")
    print("", "Limits of one balancer for the users of the last row:", *describe_limits(row.limits), "", sep="\n")
    print(f"Simulated: {last.simulated} of {last.instances:,} instances; half and twice as many: {matters:.1%} change.")
    return 0 if matters <= MOST_MATTERS else FAILED


if __name__ == "__main__":
    sys.exit(main())
