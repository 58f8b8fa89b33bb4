"""Something breaks under a steady load: a worker killed at random, one of three instances lost, a wire that is slow or
resets connections, a full disk. How many requests are lost, and how long until all is as before?

    python -m bench.stress.chaos [--seconds 5] [--only worker --only disk]

Exit status 1: it did not recover.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Sequence

from bench.stress import wire
from bench.stress.sections import rows
from bench.stress.troubles import LONGEST_S, TROUBLES, Outcome, Setting
from bench.support.served import ROOT, environment

FAILED = 1


def cause(name: str, setting: Setting) -> Outcome:
    """Lets it happen, in a namespace where it needs one. Raises TimeoutError when there is no recovery."""
    trouble = TROUBLES[name]
    if not trouble.space:
        return asyncio.run(_typed(trouble.run(setting)))
    command = [*wire.inside(trouble.space), sys.executable, "-m", "bench.stress.chaos", "--inside", name]
    command += [f"--config={setting.config}", f"--path={setting.path}"]
    command += [f"--rate={setting.rate:g}", f"--seconds={setting.seconds:g}"]
    run = subprocess.run(command, cwd=ROOT, env=environment(), check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
    if run.returncode:
        raise TimeoutError(f"{name}: it ended with {run.returncode}")
    return Outcome.model_validate_json(run.stdout)


async def _typed(outcome: Awaitable[Outcome]) -> Outcome:
    return await outcome


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """In Markdown."""
    head = ("what broke", "requests", "lost", "refused", "settled after s", "whole after s", "outcomes", "note")
    return rows(
        head,
        (
            (
                one.trouble,
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
    parser.add_argument("--only", action="append", choices=list(TROUBLES), help="may be repeated")
    parser.add_argument("--seconds", type=float, default=Setting.seconds, help="before, during and after")
    parser.add_argument("--rate", type=float, default=Setting.rate, help="requests a second")
    parser.add_argument("--config", default="", help="more settings of the server, in TOML")
    parser.add_argument("--path", default=Setting.path)
    parser.add_argument("--inside", choices=list(TROUBLES), help="in the namespace already: the outcome as JSON")
    chosen = parser.parse_args(arguments)
    setting = Setting(chosen.config, chosen.path, chosen.rate, chosen.seconds)
    if chosen.inside:
        print(asyncio.run(_typed(TROUBLES[chosen.inside].run(setting))).model_dump_json())
        return 0
    outcomes, failed = [], False
    for name in chosen.only or TROUBLES:
        if missing := TROUBLES[name].missing():
            print(f"{name}: left out: {missing}", flush=True)
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
