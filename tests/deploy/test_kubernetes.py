"""Checks the manifests of conf/kubernetes against the schemas of Kubernetes and the settings, without a cluster."""

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from faceattr_aio.config.load import PREFIX, load_config
from faceattr_aio.web.app import make_app
from tests.deploy.daemon import CONF

FOLDER = CONF / "kubernetes"
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
BASE_BYTES, BYTES_PER_PIXEL = 300e6, 12
"""The largest memory of a server in bytes, as the comment in the manifest computes it."""


def size(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    """The manifests by kind."""
    read = [yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yaml")]
    return {one["kind"]: one for one in read}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Any]) -> Any:
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_manifests_are_valid(version: str) -> None:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--no-warn", "--kubernetes-version", version]
    run = subprocess.run([*command, *FOLDER.iterdir()], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count(" passed ") == len(list(FOLDER.iterdir())) == 4


def test_labels_ports_and_users_of_the_manifests_match(manifests: dict[str, Any], pod: Any) -> None:
    deployment = manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", deployment["metadata"]["name"])
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    dockerfile = (CONF / "docker" / "Dockerfile").read_text()
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile
    security = pod["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile


def test_resources_and_timeouts_match_the_settings(
    manifests: dict[str, Any], pod: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container,) = pod["containers"]
    for one in container["env"]:
        assert one["name"].startswith(PREFIX)
        monkeypatch.setenv(one["name"], one["value"])
    config, _ = load_config()
    limits = container["resources"]["limits"]
    assert config.inference.worker_count == int(limits["cpu"])
    most = BASE_BYTES + config.inference.worker_count * BYTES_PER_PIXEL * config.image.max_pixels
    assert size(limits["memory"]) > most
    (volume,), (mount,) = pod["volumes"], container["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": "/tmp"}  # noqa: S108  # the default of upload.dir
    assert size(volume["emptyDir"]["sizeLimit"]) > config.upload.max_spool_bytes
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > config.server.drain_s + pause + 5
    (metric,) = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert int(metric["pods"]["target"]["averageValue"]) == config.inference.limit_count / 2


def test_probes_use_paths_of_the_app(pod: Any) -> None:
    (container,) = pod["containers"]
    served = {resource.canonical for resource in make_app().router.resources()}
    asked = {name: probe["httpGet"]["path"] for name, probe in container.items() if re.search("Probe$", name)}
    assert asked == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    assert set(asked.values()) <= served


def test_the_container_runs_without_privileges(pod: Any) -> None:
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
