"""The rules as Prometheus' own checker sees them, and what has to be told of each."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from faceattr_aio.config.schema import Config
from tests.deploy.daemon import CONF, installed
from tests.deploy.prometheus import FILE, RULES
from tests.support.process import ROOT

TESTS = ROOT / "tests" / "deploy" / "alerts_test.yml"
PAGE = ROOT / "docs" / "alerts.md"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


@pytest.mark.parametrize("what", [("check", "config", FILE), ("check", "rules", RULES), ("test", "rules", TESTS)])
def test_the_checker_finds_no_fault(what: tuple[str, ...]) -> None:
    run = subprocess.run([installed("promtool", "prometheus"), *what], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_each_alert_is_seen_to_fire_and_to_wait() -> None:
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        for asked in test["promql_expr_test"]:
            (name,) = re.findall(r'alertname="(\w+)", alertstate="firing"', asked["expr"])
            seen["exp_samples" in asked].add(name)
    assert seen == {True: set(ALERTS), False: set(ALERTS)}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_whom_it_wakes_where_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    told = alert["annotations"]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert "{{ $labels.instance }}" in told["summary"]
    assert told["description"].endswith(".")
    assert told["runbook"] == f"docs/alerts.md#{name.lower()}"


def test_each_alert_has_its_section_in_the_order_of_the_rules() -> None:
    page = PAGE.read_text()
    assert re.findall(r"^## (Faceattr\w+)$", page, re.MULTILINE) == list(ALERTS)
    told = re.findall(r"^## \w+\n\n\*(\w+), (?:at once|after (\d+) (\w))", page, re.MULTILINE)
    assert [(severity.lower(), number + unit) for severity, number, unit in told] == [
        (alert["labels"]["severity"], alert.get("for", "")) for alert in ALERTS.values()
    ]


def test_the_bounds_of_the_specification_are_those_of_stats() -> None:
    stats = Config().stats
    for name, bound in (
        ("FaceattrSlow", stats.alert_s),
        ("FaceattrQueueLong", stats.alert_waiting),
        ("FaceattrFailing", stats.alert_error_rate),
    ):
        assert ALERTS[name]["expr"].strip().endswith(f" > {bound:g}")


def test_each_rule_looks_at_our_job_alone() -> None:
    (job,) = yaml.safe_load(FILE.read_text())["scrape_configs"]
    selectors = re.findall(r"\b(?:up|(?:faceattr|http_server|process)_\w+){(.*?)}", RULES.read_text(), re.DOTALL)
    assert len(selectors) > len(ALERTS)
    assert all(f'job="{job["job_name"]}"' in selector for selector in selectors)


def test_a_composition_has_the_target_by_that_name() -> None:
    (job,) = yaml.safe_load(FILE.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    for file in CONF.rglob("compose.yaml"):
        assert target.partition(":")[0] in yaml.safe_load(file.read_text())["services"]
