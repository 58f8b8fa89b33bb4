"""The command line: which commands and flags there are, and what an exit status means. Each command's work is in its
own module, imported when it is called, because worker processes import this one too.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from faceattr_aio.errors import StartError

FAILED, UNUSABLE = 1, 2
"""Exit statuses: something that was asked for failed; the program could not start."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = import_module(f"faceattr_aio.cli.{parsed.module}").run(parsed)
    except StartError as error:
        print(f"faceattr-aio: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return 128 + 2
    return status


def flags(parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The flags that were given, as settings by section: `--port` is `server.port`."""
    given: dict[str, dict[str, Any]] = {}
    for name, value in vars(parsed).items():
        section, dot, key = name.partition(".")
        if dot and value is not None:
            given.setdefault(section, {})[key] = value
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faceattr-aio", description="Faces with gender and age from pictures.")
    parser.add_argument("--version", action="version", version=metadata.version("faceattr-aio"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_analyze(commands)
    _add_models(commands)
    _add_config(commands)
    _add_health(commands)
    _add_tune(commands)
    _add_worker(commands)
    return parser


def _command(commands: Any, name: str, summary: str, module: str = "") -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(module=module or name)
    command.add_argument("--config", type=Path, metavar="FILE", help="settings (conf/faceattr.toml if it is there)")
    return command


def _add_serve(commands: Any) -> None:
    serve = _command(commands, "serve", "Answer HTTP requests.")
    serve.add_argument("--host", dest="server.host", metavar="ADDRESS")
    serve.add_argument("--port", dest="server.port", metavar="N", help="0 lets the system choose")
    serve.add_argument("--workers", dest="inference.workers", metavar="N", help="default: one for each core")
    serve.add_argument("--limit", dest="inference.limit", metavar="N", help="requests in flight, running and waiting")
    serve.add_argument("--processes", dest="server.processes", metavar="N", help="event loops that share all that")
    serve.add_argument("--pool", dest="inference.pool", metavar="KIND", help="auto, process or thread")


def _add_analyze(commands: Any) -> None:
    analyze = _command(commands, "analyze", "Find the faces in picture files.")
    analyze.add_argument("files", nargs="+", type=Path, metavar="FILE", help="with --out also folders")
    analyze.add_argument("--json", action="store_true", help="one JSON document a line")
    analyze.add_argument(
        "--out",
        type=Path,
        metavar="TABLE",
        help="a row for each file; goes on with what is there: .jsonl, .csv, .parquet",
    )
    analyze.add_argument("--annotate", type=Path, metavar="OUT", help="the picture with boxes; a folder for several")
    analyze.add_argument("--server", metavar="URL", help="let it do the work; it is shown the first of auth.keys")
    analyze.add_argument("--jobs", type=int, metavar="N", help="so many of the server's jobs at a time")
    analyze.add_argument("--workers", dest="inference.workers", metavar="N")


def _add_models(commands: Any) -> None:
    models = _command(commands, "models", "Fetch, list or verify the model files.")
    models.add_argument("action", choices=["pull", "list", "verify"])
    models.add_argument("names", nargs="*", metavar="NAME", help="default: those that the settings use")
    models.add_argument("--dir", dest="models.dir", metavar="FOLDER")


def _add_config(commands: Any) -> None:
    config = _command(commands, "config", "Show or check the effective settings.")
    config.add_argument("action", choices=["show", "check"])


def _add_health(commands: Any) -> None:
    health = _command(commands, "health", "Ask a running server whether it is ready.")
    health.add_argument(
        "url", nargs="?", metavar="URL", help="where its app is; default: host and port of the settings"
    )
    health.add_argument("--timeout", type=seconds, default=3.0, metavar="S", help="for its answer (3)")


def _add_tune(commands: Any) -> None:
    tune = _command(commands, "tune", "Find out how many workers and slots pay on this machine.")
    tune.add_argument("picture", type=Path, metavar="PICTURE", help="one as your clients send it")
    tune.add_argument("--seconds", type=seconds, default=5.0, metavar="S", help="for each number of workers (5)")
    tune.add_argument("--wait", type=seconds, default=0.25, metavar="S", help="longest wait of a request (0.25)")
    tune.add_argument("--pipeline", metavar="NAME", help="default: the first in the settings")
    tune.add_argument("--output", type=Path, metavar="FILE", help="a new file for the settings that are recommended")


def _add_worker(commands: Any) -> None:
    worker = _command(commands, "worker", "Work on the jobs that servers have taken in (jobs.backend = celery).")
    worker.add_argument("--workers", dest="inference.workers", metavar="N", help="default: one for each core")


def seconds(text: str) -> float:
    """A time in seconds. Raises ValueError, which argparse tells under the name of this function."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number
