"""Checks the files of conf/docker without Docker: runs linters, builds the package from the copied sources alone, and
runs the commands of the image.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from aiohttp import ClientSession

from faceattr_aio.config.load import load_config
from tests.deploy.daemon import CONF, Launch, free_port
from tests.support.process import PATIENCE_S, ROOT, environment

FOLDER = CONF / "docker"
DOCKERFILE, COMPOSE = FOLDER / "Dockerfile", FOLDER / "compose.yaml"
SEVERAL = FOLDER / "compose.instances.yaml"
UNITS = {"m": 1 << 20, "g": 1 << 30}


def instructions() -> list[tuple[str, str]]:
    """Return name and arguments of each instruction."""
    lines = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    joined = lines.replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined if line)]


def last(name: str) -> str:
    return [rest for found, rest in instructions() if found == name][-1]


def copied() -> list[str]:
    """Return the names in the checkout that the image is built from."""
    own = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")]
    return [name for names in own for name in names]


def settings() -> dict[str, str]:
    """Return the settings that the image sets."""
    return {name: value for name, value in re.findall(r"(\w+)=(\S+)", last("ENV")) if name.startswith("FACEATTR_")}


def command(words: str) -> list[str]:
    """Return a command in exec form, with the program of this environment instead of that of the image."""
    program, *arguments = json.loads(words)
    assert program == "faceattr-aio"
    return [sys.executable, "-m", "faceattr_aio", *arguments]


def test_the_linters_report_nothing() -> None:
    scripts = Path(sys.executable).parent
    for words in (
        [str(scripts / "hadolint"), str(DOCKERFILE)],
        [str(scripts / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE), str(SEVERAL)],
    ):
        run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_package_can_be_built_from_the_copied_files(tmp_path: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied())
    assert "*" in ignored
    for name in copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "."], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert {"faceattr_aio/inference/manifest.toml", "faceattr_aio/cli/health.py"} <= set(ZipFile(wheel).namelist())


def test_the_image_verifies_its_models_in_the_folder_of_the_settings() -> None:
    folder = settings()["FACEATTR_MODELS__DIR"]
    (baked,) = [rest for name, rest in instructions() if name == "RUN" and "models" in rest]
    steps = [step.split() for step in baked.split("&&")]
    program = f"{Path(folder).parent}/bin/faceattr-aio"
    assert steps == [[program, "models", action, "--dir", folder] for action in ("pull", "verify")]
    verify = [sys.executable, "-m", "faceattr_aio", *steps[1][1:3], "--dir", str(ROOT / "models")]
    subprocess.run(verify, check=True, env=environment(), timeout=PATIENCE_S)


async def test_the_commands_of_the_image_serve_report_health_and_exit_at_the_stop_signal(
    launch: Launch, client: ClientSession, tmp_path: Path
) -> None:
    port = str(free_port())
    ours = settings() | {"FACEATTR_SERVER__PORT": port, "FACEATTR_MODELS__DIR": str(ROOT / "models")}
    server = launch([*command(last("ENTRYPOINT")), *json.loads(last("CMD"))], **ours)
    await server.answers(client, f"http://127.0.0.1:{port}/readyz")
    check = command(last("HEALTHCHECK").partition("CMD")[2])

    def is_healthy() -> bool:
        run = subprocess.run(check, check=False, cwd=tmp_path, env=environment(**ours), timeout=PATIENCE_S)
        return run.returncode == 0

    assert is_healthy()
    assert last("STOPSIGNAL") == "SIGTERM"
    assert server.stop() == 0
    assert not is_healthy()


def test_the_limits_of_the_compose_file_match_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    server = services["faceattr"]
    assert (FOLDER / server["build"]["context"] / server["build"]["dockerfile"]).samefile(DOCKERFILE)
    for name, value in server["environment"].items():
        if value is not None:
            monkeypatch.setenv(name, str(value))
    config, _ = load_config()
    assert config.inference.worker_count == server["cpus"]
    (spool,) = server["tmpfs"]
    assert bytes_of(spool.removeprefix("/tmp:size=")) > config.upload.max_spool_bytes  # noqa: S108
    assert seconds_of(server["stop_grace_period"]) > config.server.drain_s + 5
    ports = {name: service["ports"] for name, service in services.items()}
    assert ports == {
        "faceattr": [f"127.0.0.1:{config.server.port}:{settings()['FACEATTR_SERVER__PORT']}"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert services["prometheus"]["volumes"][0] == "../prometheus:/etc/prometheus:ro"
    assert services["grafana"]["volumes"][0] == "../grafana:/etc/grafana/provisioning:ro"


def bytes_of(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]]


def seconds_of(text: str) -> float:
    return float(text.removesuffix("s"))
