"""Reads the dashboard of conf/grafana as Grafana does: its panels and queries, with values for the variables."""

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
    """Return the query with these values; each variable needs one."""
    for name, value in variables.items():
        query = query.replace(f"${name}", value)
    assert "$" not in query
    return query


def legend(target: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Return the name of a series in a panel, with a question mark for each missing label."""
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], "?"), target["legendFormat"])
