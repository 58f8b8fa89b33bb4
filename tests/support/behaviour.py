"""The outward behaviour of the package in sections, and its record in tests/behaviour.json.

`python -m tests.support.behaviour` prints how the program differs from the record, `--write` writes the record: use it
when the behaviour is changed on purpose, and review the difference.
"""

import argparse
import configparser
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support import commands, interface, python_names, served, source
from tests.support.process import ROOT
from tests.support.schemas import Tree

RECORD = Path(__file__).parent.parent / "behaviour.json"
WIDTH = 120
_TOOLS = {"dev", "peers", "plot", "stress"}
"""Extras that only development uses."""


def _packaging() -> Tree:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    scripts = parser["options.entry_points"]["console_scripts"].split("\n")
    return {
        "scripts": [line for line in scripts if line],
        "extras": sorted({*parser["options.extras_require"]} - _TOOLS),
    }


SECTIONS: Mapping[str, Callable[[], Any]] = {
    "routes by default": lambda: interface.routes(interface.DEFAULTS),
    "routes with everything": lambda: interface.routes(interface.EVERYTHING),
    "routes without pages, metrics and jobs": lambda: interface.routes(interface.LITTLE),
    "routes with redis, celery and traces": lambda: interface.routes(interface.SHARED),
    "openapi by default": lambda: interface.openapi(interface.DEFAULTS),
    "openapi with everything": lambda: interface.openapi(interface.EVERYTHING),
    "settings": python_names.settings,
    "settings that a reload applies": lambda: source.reloadable(python_names.settings()["keys"]),
    "pipelines": python_names.pipelines,
    "problems": python_names.problems,
    "responses": lambda: served.readings().responses,
    "metrics": lambda: served.readings().metrics,
    "log line": lambda: served.readings().log,
    "commands": commands.commands,
    "models": commands.models,
    "exit statuses": lambda: commands.exit_statuses(served.picture()) | served.readings().exits,
    "public names": python_names.public_names,
    "public methods": python_names.methods,
    "answers of the client": python_names.answers,
    "loggers": source.loggers,
    "redis": source.redis,
    "celery": source.celery,
    "keys of an app": source.keys,
    "span attributes": source.span_attributes,
    "environment": source.environment,
    "temporary files": source.files,
    "packaging": _packaging,
}


def recorded() -> Tree:
    """Return the record."""
    record: Tree = json.loads(RECORD.read_text())
    return record


def differences(section: str) -> list[str]:
    """Return how the program differs from the record, one entry for each place."""
    return list(_differences(recorded().get(section), _plain(SECTIONS[section]()), ""))


def text(value: Any, indent: str = "", taken: int = 0) -> str:
    """Return JSON with each value on one line where it fits; `taken` columns of the first line are in use."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + taken + len(line) < WIDTH or not isinstance(value, dict | list) or not value:
        return line
    more = indent + " "
    if isinstance(value, list):
        entries = [text(one, more) for one in value]
    else:
        entries = [f"{json.dumps(key)}: {text(one, more, len(key) + 4)}" for key, one in value.items()]
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return f"{opening}\n{more}" + f",\n{more}".join(entries) + f"\n{indent}{closing}"


def _plain(value: Any) -> Any:
    """Return the value as it is read back from JSON, with sorted keys."""
    return json.loads(json.dumps(value, sort_keys=True))


def _differences(before: Any, now: Any, place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if key not in now:
                yield f"{place}/{key} is gone: {json.dumps(before[key])}"
            elif key not in before:
                yield f"{place}/{key} is new: {json.dumps(now[key])}"
            else:
                yield from _differences(before[key], now[key], f"{place}/{key}")
    elif isinstance(before, list) and isinstance(now, list):
        yield from (f"{place} has no more {json.dumps(one)}" for one in before if one not in now)
        yield from (f"{place} also has {json.dumps(one)}" for one in now if one not in before)
        if before != now and sorted(before, key=json.dumps) == sorted(now, key=json.dumps):
            yield f"{place} has another order: {json.dumps(now)}"
    elif before != now:
        yield f"{place} was {json.dumps(before)} and is {json.dumps(now)}"


def main() -> int:
    """Write the record, or print the differences and return 1 when there are any."""
    parser = argparse.ArgumentParser(description="Compare the outward behaviour with the record, or write the record.")
    parser.add_argument("--write", action="store_true", help="write tests/behaviour.json")
    if parser.parse_args().write:
        RECORD.write_text(text(_plain({name: read() for name, read in SECTIONS.items()})) + "\n")
        return 0
    found = [f"{section}: {one}" for section in SECTIONS for one in differences(section)]
    print("\n".join(found) or "The behaviour is as recorded.")  # noqa: T201  # a program prints
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
