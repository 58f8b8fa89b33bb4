"""Checks the file of the dashboard: its layout, texts and queries, and that Grafana loads it."""

import re
from itertools import combinations, pairwise
from typing import Any

import pytest
import yaml

from tests.deploy.daemon import CONF
from tests.deploy.dashboard import BOARD, FILE, PANELS, VARIABLES, fill_in
from tests.deploy.prometheus import FILE as PROMETHEUS

COLUMNS = 24
UNITS = {"none", "short", "reqps", "percentunit", "s", "bytes"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in ("xw", "yh"))


def test_panels_lie_within_the_columns_and_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS for place in places)
    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]
    assert all(before <= after for before, after in pairwise((place["y"], place["x"]) for place in places))


def test_the_dashboard_and_its_panels_have_unique_ids_and_titles() -> None:
    assert BOARD["schemaVersion"] >= 39
    assert BOARD["uid"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len({panel["title"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_has_a_description_a_unit_and_a_data_source(title: str) -> None:
    panel = PANELS[title]
    assert re.fullmatch(r"[A-Z].{20,130}\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == SOURCE
    names = [target["refId"] for target in panel["targets"]]
    assert names == sorted(set(names))


@pytest.mark.parametrize("title", PANELS)
def test_a_query_uses_the_variables_and_the_rate_interval(title: str) -> None:
    for target in PANELS[title]["targets"]:
        assert "job='$job'" in target["expr"]
        assert "instance=~'$instance'" in target["expr"] or target["expr"].startswith("ALERTS")
        assert set(re.findall(r"\[(.*?)\]", target["expr"])) <= {"$__rate_interval"}
        assert bool(target["legendFormat"]) is (PANELS[title]["type"] != "table")
        assert fill_in(target["expr"], __rate_interval="1m", job="faceattr", instance=".*")


def test_the_variables_are_the_data_source_the_job_and_its_instances() -> None:
    assert list(VARIABLES) == ["datasource", "job", "instance"]
    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert all(VARIABLES[name]["datasource"] == SOURCE for name in ("job", "instance"))


def test_the_provisioning_has_the_folder_of_the_dashboard_and_prometheus() -> None:
    (provider,) = read("dashboards/provider.yml")["providers"]
    assert provider["options"]["path"] == f"/etc/grafana/provisioning/{FILE.parent.name}"
    (source,) = read("datasources/prometheus.yml")["datasources"]
    assert source["type"] == SOURCE["type"]
    assert source["jsonData"]["timeInterval"] == yaml.safe_load(PROMETHEUS.read_text())["global"]["scrape_interval"]


def read(name: str) -> Any:
    return yaml.safe_load((CONF / "grafana" / name).read_text())
