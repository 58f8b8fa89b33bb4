"""How many cores and instances a number of users takes, what they would wait, how many would be refused, what it costs
and what breaks first: fitted to this machine, then simulated.

    python -m bench.stress.capacity --users 100 1000 --think 1 3 --p99 500 --price 0.04

Exit status 1: nothing keeps the promise, or the size of what is simulated matters.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from bench.stress import album, connections, front, model, reading
from bench.stress.connections import Held
from bench.stress.instance import Size
from bench.stress.interference import QUIET_ENOUGH, undisturbed
from bench.stress.limits import Machine, limits
from bench.stress.model import Model
from bench.stress.observe import by_cores, observe
from bench.stress.planning import UnreachableError, Wish, follow, plan, share_matters
from bench.stress.simulation import Rule
from bench.stress.table import Row, head, tell_growth, tell_limits, tell_model
from bench.stress.validate import REAL, Care, started
from bench.support.served import ROOT, server_core

REPORTS = ROOT / "bench" / "reports"
USERS = (100, 1_000, 10_000, 100_000, 1_000_000)
MOST_MATTERS = 0.1
FAILED = 1
MEASURED = Machine(0.00014, 5_000, "docs/capacity.md")
"""Where nothing is measured now."""


def learn(folder: Path | None, care: Care) -> Model:
    """The model of one instance with one worker on one core of this machine."""
    shown = album.of_folder(folder) if folder else album.made()
    with server_core() as core, started(REAL, 1, core) as (server,):
        observed, others = care.measure(partial(observe, server, REAL.path, REAL.size, shown, care.seconds))
    rates, beside = undisturbed(lambda: by_cores(care.seconds), care.tries, care.patience_s)
    if max(others, beside) > QUIET_ENOUGH:
        print(f"Other programs took {max(others, beside):.0%} of the machine: measure again.", file=sys.stderr)
    return model.fit(observed, rates)


def find_model(chosen: argparse.Namespace) -> Model:
    """From a file, from the newest report, or measured now."""
    if chosen.model:
        return model.load(chosen.model)
    report = reading.newest(chosen.reports) if chosen.report and not chosen.pictures else None
    if report is None:
        print("measuring one instance", file=sys.stderr)
        return learn(chosen.pictures, Care(chosen.seconds, tries=3, patience_s=20.0))
    observed, users = reading.read(report)
    print(f"Fitted to {report}: goodput peaks at {users.peak:.0f} users (contention {users.contention:.3f}).")
    return model.fit(observed, by_cores(chosen.seconds))


def find_machine(chosen: argparse.Namespace, held: Sequence[Held]) -> Machine:
    """What balances, measured here where it can be."""
    nginx = next((one for one in held if one.what == "nginx"), None)
    if nginx is None:
        cpu_s, each, source = MEASURED.request_cpu_s, MEASURED.connection_bytes, MEASURED.source
    else:
        cpu_s, each, source = front.request_cpu_s(chosen.seconds), nginx.server_bytes + nginx.kernel_bytes, "measured"
    return Machine(cpu_s, each, source, chosen.card, chosen.memory, chosen.balancer_cores)


def rows(fitted: Model, machine: Machine, chosen: argparse.Namespace) -> Iterator[Row]:
    """Raises UnreachableError."""
    size = Size(chosen.workers, chosen.limit or 4 * chosen.workers, chosen.workers)
    for users in chosen.users:
        wish = Wish(users, tuple(chosen.think), chosen.p99 / 1e3, chosen.refused, not chosen.give_up)
        planned = plan(fitted, wish, size, chosen.rule)
        yield Row(planned, limits(planned, fitted.mean_bytes, machine), chosen.price)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.capacity")
    add = parser.add_argument
    add("--users", type=int, nargs="+", default=USERS)
    add("--think", type=float, nargs=2, default=(1.0, 3.0), help="seconds between two requests, from and to")
    add("--p99", type=float, default=500.0, help="milliseconds that 99 of 100 answers may take")
    add("--refused", type=float, default=0.001, help="share of requests that may be refused")
    add("--give-up", action="store_true", help="who is refused does not come back after Retry-After")
    add("--workers", type=int, default=2, help="workers and cores of an instance")
    add("--limit", type=int, help="requests in flight in an instance; 4 for each worker")
    add("--rule", choices=get_args(Rule), default="least_conn")
    add("--autoscale", type=float, metavar="S", help="how instances follow twice the users, S to start one")
    add("--price", type=float, help="of a core for an hour")
    add("--card", type=float, default=MEASURED.card_gbit, help="Gbit/s of a balancer's network card")
    add("--memory", type=float, default=MEASURED.memory_gb, help="GB of a balancer")
    add("--balancer-cores", type=int, default=MEASURED.cores)
    add("--pictures", type=Path, help="folder; else one portrait in four sizes")
    add("--reports", type=Path, default=REPORTS, help="where stress tests left measurements.json")
    add("--report", action="store_true", help="fit to the newest report, if there is one, instead of measuring now")
    add("--model", type=Path, help="a model that was saved")
    add("--save", type=Path, help="where to save the model")
    add("--seconds", type=float, default=4.0, help="of each measurement")
    add("--connections", type=int, default=connections.COUNT, help="to open here; 0: rely on docs/capacity.md")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    fitted = find_model(chosen)
    if chosen.save:
        model.save(fitted, chosen.save)
    held = connections.measure(chosen.connections) if chosen.connections else []
    machine = find_machine(chosen, held)
    print(*tell_model(fitted, Size(chosen.workers, 0, chosen.workers)), *(one.line() for one in held), "", sep="\n")
    return report(fitted, machine, chosen)


def report(fitted: Model, machine: Machine, chosen: argparse.Namespace) -> int:
    """Prints the table; the exit status."""
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
        print("", "Half of these instances are there when all users come, and others follow:", sep="\n")
        print(*(tell_growth(one, follow(fitted, one, chosen.rule, chosen.autoscale)) for one in found), sep="\n")
    print("", "One balancer, and the last line's users:", *tell_limits(row.limits), "", sep="\n")
    print(f"Simulated: {last.simulated} of {last.instances:,} instances; half or twice as many change {matters:.1%}.")
    return 0 if matters <= MOST_MATTERS else FAILED


if __name__ == "__main__":
    sys.exit(main())
