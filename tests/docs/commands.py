"""Commands for a shell: those that are run, and those that can only be looked at, each for a reason in not_run.toml."""

import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from faceattr_aio.cli import make_parser
from tests.docs.session import MAIN_PORT, Session
from tests.support.process import ROOT, environment

NOT_RUN: dict[str, str] = tomllib.loads(Path(__file__).with_name("not_run.toml").read_text())
_SERVES = re.compile(r"^((faceattr-aio|python -m faceattr_aio) serve|gunicorn)\b")


def commands(text: str) -> list[str]:
    """One a line, or on several that end in a backslash."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def listed(command: str) -> str | None:
    """The beginning under which there is a reason not to run it."""
    return next((start for start in NOT_RUN if command.startswith(start)), None)


def follow(session: Session, text: str, *, shown: bool) -> None:
    """Does what a reader would: runs each command, leaves a server running, and looks at what is not run. Where what
    the last one prints is `shown`, that may be a refusal.
    """
    found = commands(text)
    for command in found:
        if listed(command):
            look(command)
        elif _SERVES.match(command):
            session.serve(MAIN_PORT, "sh", "-c", f"exec {session.localize(command)}")
        else:
            session.provide(command)
            strict = command if shown and command == found[-1] else _demanding(command)
            session.run("bash", "-euo", "pipefail", "-c", session.localize(strict))


def _demanding(command: str) -> str:
    """So that a refusal is a failure."""
    return re.sub(r"^curl ", "curl --no-progress-meter --fail ", command)


def look(command: str) -> None:
    """Whether what is not run could be: the target is there, the options are."""
    match shlex.split(command, comments=True):
        case ["make", *arguments]:
            _dry_run(arguments)
        case ["python", "-m", module, *arguments]:
            _offers(module, arguments)
        case ["faceattr-aio", *arguments] if "&&" not in arguments:
            make_parser().parse_args(arguments)


def _dry_run(arguments: list[str]) -> None:
    ended = subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def _offers(module: str, arguments: list[str]) -> None:
    assert find_spec(module), f"there is no module {module}"
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    missing = [option for option in options if not re.search(rf"{option}\b", _help(module))]
    assert not missing, f"{module} has no {', '.join(missing)}"


@cache
def _help(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True).stdout
