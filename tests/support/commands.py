"""Read the command line: commands with their flags, the list of models, exit statuses of cheap runs."""

import argparse
import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from faceattr_aio.cli import main
from tests.support.schemas import Tree

Environment = dict[str, str]

LOCAL: Environment = {"FACEATTR_INFERENCE__POOL": "thread", "FACEATTR_INFERENCE__WORKERS": "1"}
"""Workers as threads of this process, which start faster."""

RUNS: dict[str, tuple[list[str], Environment]] = {
    "no command": ([], {}),
    "unknown command": (["fly"], {}),
    "unknown flag": (["serve", "--colour", "red"], {}),
    "help": (["--help"], {}),
    "help of a command": (["analyze", "--help"], {}),
    "version": (["--version"], {}),
    "config show": (["config", "show"], {}),
    "config check": (["config", "check"], {}),
    "config check without model files": (["config", "check"], {"FACEATTR_MODELS__DIR": "nowhere"}),
    "unknown key in the environment": (["config", "check"], {"FACEATTR_SERVER__PROT": "1"}),
    "unknown section in the environment": (["config", "check"], {"FACEATTR_SEVRER__PORT": "1"}),
    "missing file in FACEATTR_CONFIG": (["config", "check"], {"FACEATTR_CONFIG": "nowhere.toml"}),
    "missing file in --config": (["config", "check", "--config", "nowhere.toml"], {}),
    "unknown pipeline factory": (["config", "check"], {"FACEATTR_PIPELINES__FACES__FACTORY": "nowhere:Nothing"}),
    "serve on an impossible port": (["serve", "--port", "70000"], {}),
    "analyze without a file": (["analyze"], {}),
    "analyze a picture": (["analyze", "--json", "picture.png"], LOCAL),
    "analyze a missing file": (["analyze", "missing.png"], LOCAL),
    "analyze into a table": (["analyze", "--out", "table.csv", "picture.png"], LOCAL),
    "analyze into a table of Parquet": (["analyze", "--out", "table.parquet", "picture.png"], LOCAL),
    "analyze with jobs and no server": (["analyze", "--jobs", "2", "picture.png"], {}),
    "analyze into a table of unknown kind": (["analyze", "--out", "table.xls", "picture.png"], {}),
    "analyze over the picture itself": (["analyze", "--annotate", "picture.png", "picture.png"], {}),
    "analyze without the pipeline faces": (["analyze", "picture.png"], {"FACEATTR_PIPELINES": '{"holistic": {}}'}),
    "models list": (["models", "list"], {}),
    "models verify": (["models", "verify"], {}),
    "models verify in an empty folder": (["models", "verify", "--dir", "nowhere"], {}),
    "models pull of an unknown name": (["models", "pull", "nothing"], {}),
    "health without a server": (["health", "http://127.0.0.1:1"], {}),
    "health with a bad URL": (["health", "nowhere"], {}),
    "health with port 0": (["health"], {"FACEATTR_SERVER__PORT": "0"}),
    "health with a timeout of 0": (["health", "--timeout", "0"], {}),
    "tune with a missing picture": (["tune", "missing.png"], {}),
    "worker without Celery": (["worker"], {}),
}


def commands() -> Tree:
    """Return the flags and arguments of each command."""
    return _arguments(_parser())


def models() -> list[str]:
    """Return the names of `models list`, a star before those that the settings use."""
    with _folder():
        listed = run(["models", "list"], {})[1]
    lines = re.finditer(r"^([* ]) (\S+) .* [\d,]+ B ", listed, re.MULTILINE)
    return [f"{line[1]} {line[2]}".strip() for line in lines]


def exit_statuses(picture: bytes) -> dict[str, int | str]:
    """Return the exit status of each run. The runs find `picture` as picture.png."""
    with _folder() as folder:
        (folder / "picture.png").write_bytes(picture)
        return {name: run(arguments, environment)[0] for name, (arguments, environment) in RUNS.items()}


def run(arguments: Sequence[str], environment: Environment) -> tuple[int | str, str]:
    """Run a command in this process and return its exit status, or the exception that it raises, and its output."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FACEATTR_")}
    output = io.StringIO()
    with (
        mock.patch.dict(os.environ, ours | environment, clear=True),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        try:
            status: Any = main(arguments)
        except SystemExit as end:
            status = end.code or 0
        except Exception as error:  # noqa: BLE001  # one of many runs
            status = repr(error)
    return status, output.getvalue()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Change to an empty folder, where there are no settings."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder)


def _parser() -> argparse.ArgumentParser:
    """Return the parser that `main` makes."""
    found: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        found.append(parser)
        raise SystemExit

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop), contextlib.suppress(SystemExit):
        main([])
    return found[0]


def _arguments(parser: argparse.ArgumentParser) -> Tree:
    """Return flags and arguments by name, and those of each command below its name."""
    found: Tree = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {name: _arguments(command) for name, command in action.choices.items()}
        else:
            found[" ".join(action.option_strings) or action.dest] = _argument(action)
    return found


def _argument(action: argparse.Action) -> Tree:
    names = ("dest", "metavar", "nargs", "choices", "default", "const")
    said = {name: getattr(action, name) for name in names}
    said["action"] = type(action).__name__.strip("_").removesuffix("Action")
    return {name: value for name, value in said.items() if value not in (None, False, argparse.SUPPRESS)}
