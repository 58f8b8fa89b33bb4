"""The command line: commands, flags and exit statuses. Each command is a module that is imported when it runs, because
worker processes import this package too.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from faceattr_aio.errors import StartError

FAILED, UNUSABLE = 1, 2
"""Exit statuses: a part of the work failed; the program could not start."""

_COMMANDS = {
    "serve": "Run the HTTP server.",
    "analyze": "Find the faces in picture files.",
    "models": "Download, list or verify the model files.",
    "config": "Show or check the effective settings.",
    "health": "Check whether a running server is ready.",
    "tune": "Measure how many workers and slots to use on this machine.",
    "worker": "Process the jobs that servers have queued (jobs.backend = celery).",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parsed = make_parser().parse_args(arguments)
    try:
        status: int = import_module(f"faceattr_aio.cli.{parsed.command}").run(parsed)
    except StartError as error:
        print(f"faceattr-aio: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return 128 + 2
    return status


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faceattr-aio", description="Detect faces with gender and age in pictures.")
    parser.add_argument("--version", action="version", version=metadata.version("faceattr-aio"))
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands = {name: subparsers.add_parser(name, help=text, description=text) for name, text in _COMMANDS.items()}
    for command in commands.values():
        command.add_argument("--config", type=Path, metavar="FILE", help="settings (default: conf/faceattr.toml)")
    _add_server_arguments(commands)
    _add_file_arguments(commands)
    _add_operation_arguments(commands)
    return parser


def _add_server_arguments(commands: dict[str, argparse.ArgumentParser]) -> None:
    serve, worker = commands["serve"], commands["worker"]
    serve.add_argument("--host", dest="server.host", metavar="ADDRESS")
    serve.add_argument("--port", dest="server.port", metavar="N", help="0: a free port")
    serve.add_argument("--limit", dest="inference.limit", metavar="N", help="requests in flight, running and waiting")
    serve.add_argument(
        "--processes",
        dest="server.processes",
        metavar="N",
        help="serving processes; workers and slots are divided among them",
    )
    serve.add_argument("--pool", dest="inference.pool", metavar="KIND", help="auto, process or thread")
    for command in (serve, worker, commands["analyze"]):
        command.add_argument("--workers", dest="inference.workers", metavar="N", help="default: one for each core")


def _add_file_arguments(commands: dict[str, argparse.ArgumentParser]) -> None:
    analyze, models = commands["analyze"], commands["models"]
    analyze.add_argument("files", nargs="+", type=Path, metavar="FILE", help="with --out also folders")
    analyze.add_argument("--json", action="store_true", help="print one JSON document for each file")
    table = "write a row for each file, or resume such a table: .jsonl, .csv, .parquet"
    analyze.add_argument("--out", type=Path, metavar="TABLE", help=table)
    analyze.add_argument("--annotate", type=Path, metavar="OUT", help="draw boxes on the picture; a folder for several")
    analyze.add_argument("--server", metavar="URL", help="use this server, with the first key of auth.keys")
    analyze.add_argument("--jobs", type=int, metavar="N", help="use N jobs of the server at a time")
    models.add_argument("action", choices=["pull", "list", "verify"])
    models.add_argument("names", nargs="*", metavar="NAME", help="default: the models that the settings use")
    models.add_argument("--dir", dest="models.dir", metavar="FOLDER")


def _add_operation_arguments(commands: dict[str, argparse.ArgumentParser]) -> None:
    commands["config"].add_argument("action", choices=["show", "check"])
    health, tune = commands["health"], commands["tune"]
    health.add_argument("url", nargs="?", metavar="URL", help="of the app (default: host and port of the settings)")
    health.add_argument("--timeout", type=seconds, default=3.0, metavar="S", help="for the response (default: 3)")
    tune.add_argument("picture", type=Path, metavar="PICTURE", help="typical of those that your clients send")
    tune.add_argument(
        "--seconds", type=seconds, default=5.0, metavar="S", help="for each number of workers (default: 5)"
    )
    tune.add_argument(
        "--wait", type=seconds, default=0.25, metavar="S", help="longest wait of a request (default: 0.25)"
    )
    tune.add_argument("--pipeline", metavar="NAME", help="default: the first in the settings")
    tune.add_argument("--output", type=Path, metavar="FILE", help="write the recommended settings to a new file")


def seconds(text: str) -> float:
    """Parse a positive time. Raises ValueError; argparse shows the name of this function in its message."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number
