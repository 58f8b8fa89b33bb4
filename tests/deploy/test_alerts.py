"""Checks the alerting rules with promtool, and against docs/alerts.md and the settings."""

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


@pytest.mark.parametrize("arguments", [("check", "config", FILE), ("check", "rules", RULES), ("test", "rules", TESTS)])
def test_promtool_accepts_the_files(arguments: tuple[str, ...]) -> None:
    run = subprocess.run([installed("promtool", "prometheus"), *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_tests_of_promtool_contain_each_alert_firing_and_not_firing() -> None:
    tested: dict[bool, set[str]] = {True: set(), False: set()}
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        for expression in test["promql_expr_test"]:
            (name,) = re.findall(r'alertname="(\w+)", alertstate="firing"', expression["expr"])
            tested["exp_samples" in expression].add(name)
    assert tested == {True: set(ALERTS), False: set(ALERTS)}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_the_instance_a_description_and_a_runbook(name: str) -> None:
    alert = ALERTS[name]
    annotations = alert["annotations"]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert "{{ $labels.instance }}" in annotations["summary"]
    assert annotations["description"].endswith(".")
    assert annotations["runbook"] == f"docs/alerts.md#{name.lower()}"


def test_the_page_describes_each_alert_in_the_order_of_the_rules() -> None:
    page = PAGE.read_text()
    assert re.findall(r"^## (Faceattr\w+)$", page, re.MULTILINE) == list(ALERTS)
    described = re.findall(r"^## \w+\n\n\*(\w+), (?:at once|after (\d+) (\w))", page, re.MULTILINE)
    assert [(severity.lower(), number + unit) for severity, number, unit in described] == [
        (alert["labels"]["severity"], alert.get("for", "")) for alert in ALERTS.values()
    ]


def test_alerts_of_the_specification_have_the_bounds_of_the_section_stats() -> None:
    stats = Config().stats
    for name, bound in (
        ("FaceattrSlow", stats.alert_s),
        ("FaceattrQueueLong", stats.alert_waiting),
        ("FaceattrFailing", stats.alert_error_rate),
    ):
        assert ALERTS[name]["expr"].strip().endswith(f" > {bound:g}")


def test_each_selector_of_a_rule_names_the_job() -> None:
    (job,) = yaml.safe_load(FILE.read_text())["scrape_configs"]
    selectors = re.findall(r"\b(?:up|(?:faceattr|http_server|process)_\w+){(.*?)}", RULES.read_text(), re.DOTALL)
    assert len(selectors) > len(ALERTS)
    assert all(f'job="{job["job_name"]}"' in selector for selector in selectors)


def test_each_compose_file_has_a_service_with_the_name_of_the_target() -> None:
    (job,) = yaml.safe_load(FILE.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    for file in CONF.rglob("compose.yaml"):
        assert target.partition(":")[0] in yaml.safe_load(file.read_text())["services"]
