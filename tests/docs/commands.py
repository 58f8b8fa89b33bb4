"""Runs the shell commands of a page. Commands in not_run.toml are only checked, for the reason that it gives."""

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
    """Return the commands of a block: one per line; a backslash at the end continues a line."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def listed(command: str) -> str | None:
    """Return the prefix in not_run.toml that matches the command, or None."""
    return next((start for start in NOT_RUN if command.startswith(start)), None)


def follow(session: Session, text: str, *, shown: bool) -> None:
    """Run each command, start servers in the background, and check commands that are not run. The last command of a
    block with `shown` output may print an error of the server.
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
    """Return the command with the option of curl that makes an error status a failure."""
    return re.sub(r"^curl ", "curl --no-progress-meter --fail ", command)


def look(command: str) -> None:
    """Check that the target of make, the module and its options, or the arguments of faceattr-aio exist."""
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
    assert find_spec(module), f"the module {module} does not exist"
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    missing = [option for option in options if not re.search(rf"{option}\b", _help(module))]
    assert not missing, f"{module} has no {', '.join(missing)}"


@cache
def _help(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True).stdout
