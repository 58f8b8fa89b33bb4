"""Causes a failure under a steady load: a killed worker, the loss of one of three instances, a network link that is
slow or resets connections, a full disk. Reports the number of lost requests and the time until recovery.

    python -m bench.stress.chaos [--seconds 5] [--only worker --only disk]

Exit status 1: no recovery.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Sequence

from bench.stress import link
from bench.stress.failures import FAILURES, LONGEST_S, Outcome, Setting
from bench.stress.sections import rows
from bench.support.served import ROOT, environment

FAILED = 1


def cause(name: str, setting: Setting) -> Outcome:
    """Cause the failure, in a namespace if it needs one. Raises TimeoutError if there is no recovery."""
    failure = FAILURES[name]
    if not failure.space:
        return asyncio.run(_typed(failure.run(setting)))
    command = [*link.inside(failure.space), sys.executable, "-m", "bench.stress.chaos", "--inside", name]
    command += [f"--config={setting.config}", f"--path={setting.path}"]
    command += [f"--rate={setting.rate:g}", f"--seconds={setting.seconds:g}"]
    run = subprocess.run(command, cwd=ROOT, env=environment(), check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
    if run.returncode:
        raise TimeoutError(f"{name}: exit status {run.returncode}")
    return Outcome.model_validate_json(run.stdout)


async def _typed(outcome: Awaitable[Outcome]) -> Outcome:
    return await outcome


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """A Markdown table."""
    head = ("failure", "requests", "lost", "refused", "last error after s", "recovered after s", "outcomes", "note")
    return rows(
        head,
        (
            (
                one.failure,
                str(one.requests),
                str(one.lost),
                str(one.refused),
                f"{one.settled_s:.2f}",
                "-" if one.whole_s is None else f"{one.whole_s:.2f}",
                ", ".join(f"{outcome}: {count}" for outcome, count in sorted(one.outcomes.items())),
                one.note,
            )
            for one in outcomes
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.chaos")
    parser.add_argument("--only", action="append", choices=list(FAILURES), help="may be repeated")
    parser.add_argument(
        "--seconds",
        type=float,
        default=Setting.seconds,
        help="duration of each part: before, during and after the failure",
    )
    parser.add_argument("--rate", type=float, default=Setting.rate, help="requests a second")
    parser.add_argument("--config", default="", help="additional settings of the server, in TOML")
    parser.add_argument("--path", default=Setting.path, help="path of the requests")
    parser.add_argument("--inside", choices=list(FAILURES), help="used inside the namespace: print the outcome as JSON")
    chosen = parser.parse_args(arguments)
    setting = Setting(chosen.config, chosen.path, chosen.rate, chosen.seconds)
    if chosen.inside:
        print(asyncio.run(_typed(FAILURES[chosen.inside].run(setting))).model_dump_json())
        return 0
    outcomes, failed = [], False
    for name in chosen.only or FAILURES:
        if missing := FAILURES[name].missing():
            print(f"{name}: skipped: {missing}", flush=True)
            continue
        try:
            outcomes.append(cause(name, setting))
        except TimeoutError as error:
            print(f"{name}: no recovery within {LONGEST_S:g} s: {error}", flush=True)
            failed = True
    print("\n".join(table(outcomes)))
    return FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
