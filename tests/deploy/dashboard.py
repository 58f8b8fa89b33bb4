"""The dashboard that ships, read as Grafana reads it: its panels, and their queries with the variables filled in."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.deploy.daemon import CONF

FILE = CONF / "grafana" / "dashboards" / "faceattr.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: dict[str, dict[str, Any]] = {panel["title"]: panel for panel in BOARD["panels"] if panel["type"] != "row"}
VARIABLES: dict[str, dict[str, Any]] = {one["name"]: one for one in BOARD["templating"]["list"]}


def fill_in(query: str, **variables: str) -> str:
    """The query with these values of variables; none may be left over."""
    for name, value in variables.items():
        query = query.replace(f"${name}", value)
    assert "$" not in query
    return query


def legend(target: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """How a series is named; in the place of a label that it does not have stands a question mark."""
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], "?"), target["legendFormat"])
