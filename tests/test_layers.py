"""Imports point down only, and the core does not know the pipelines."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "faceattr_aio"

HTTP = {
    "admin",
    "body",
    "callbacks",
    "client",
    "clients",
    "handlers",
    "health",
    "job_handlers",
    "job_routes",
    "job_setup",
    "journal",
    "lines",
    "negotiation",
    "outward",
    "page",
    "parts",
    "problems",
    "reloading",
    "responses",
    "sending",
    "stream",
    "streaming",
    "telemetry",
    "web",
    "wishes",
}

LAYERS = (
    {"answers", "errors", "headers", "pipeline", "probe", "story"},
    {"imaging", "openvino_runtime", "faces", "holistic", "anime"},
    {"fork_server", "worker"},
    {
        "access",
        "arrivals",
        "batch",
        "cache",
        "celery_app",
        "celery_jobs",
        "celery_worker",
        "config",
        "documents",
        "download",
        "extras",
        "executor",
        "failures",
        "fairness",
        "guard",
        "io_threads",
        "job_room",
        "job_schemas",
        "job_steps",
        "job_store",
        "job_worker",
        "jobs",
        "keys",
        "lanes",
        "lending",
        "live_job",
        "limiter",
        "memory_jobs",
        "metrics",
        "model_store",
        "multipart",
        "openapi",
        "plans",
        "pool",
        "redis_cache",
        "results",
        "scaling",
        "schemas",
        "scratch",
        "seat",
        "shared",
        "shares",
        "sources",
        "spool",
        "staff",
        "traces",
        "turns",
        "upkeep",
        "upload",
        "vitals",
        "window",
        "workers",
        "writer",
    },
    HTTP,
    {"__init__"},
    {"__main__", "cli"},
)
"""From the bottom up. A module imports from its own layer and from lower ones."""

SEALED = {"imaging", "openvino_runtime", "faces", "holistic", "anime"}
"""Reached by dotted name in a worker only: nothing above imports them."""

OUTSIDE = {
    "aiohttp": HTTP | {"cli"},
    "cv2": SEALED,
    "numpy": SEALED,
    "openvino": SEALED,
}
OUTSIDE |= {
    "asyncio": {
        "arrivals",
        "body",
        "callbacks",
        "celery_jobs",
        "client",
        "executor",
        "guard",
        "io_threads",
        "lines",
        "live_job",
        "memory_jobs",
        "redis_cache",
        "results",
        "sending",
        "shared",
        "stream",
        "telemetry",
        "turns",
        "upload",
        "vitals",
        "cli",
    },
    "aiofiles": {"spool"},
    "uvloop": {"cli"},
    "multidict": {"negotiation"},
    "opentelemetry": {"traces", "cli"},
    "prometheus_client": {"metrics", "telemetry", "web", "cli"},
}
"""Which modules may know what."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """The module as the layers name it: `faces` for all of the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def imported(path: Path) -> set[str]:
    """The dotted names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(path: Path) -> set[str]:
    """Our modules among them, as the layers name them."""
    parts = [name.split(".") for name in imported(path) if name.split(".")[0] == "faceattr_aio"]
    return {
        part[1] if (PACKAGE / part[1]).is_dir() or (PACKAGE / f"{part[1]}.py").exists() else "__init__"
        for part in parts
    }


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_layer_and_below(path: Path) -> None:
    here = level(unit(path))
    upward = {name for name in own_imports(path) if level(name) > here}
    assert not upward


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pixels_are_reached_by_dotted_name_only(path: Path) -> None:
    if unit(path) not in SEALED:
        assert not own_imports(path) & SEALED


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_known_where_it_belongs(path: Path) -> None:
    for library, knowing in OUTSIDE.items():
        if unit(path) not in knowing:
            assert library not in {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("name", ["limiter", "executor", "handlers", "web"])
def test_the_core_does_not_name_a_pipeline(name: str) -> None:
    text = (PACKAGE / f"{name}.py").read_text()
    assert not re.findall(r"\b(faces|holistic|anime|cv2)\b", text)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


NOTHING = """
import sys, threading, faceattr_aio
for pool in ("thread", "process"):
    config = faceattr_aio.Config.model_validate({"inference": {"pool": pool}, "models": {"dir": "/nowhere"}})
    faceattr_aio.make_app(config)
print("cv2" in sys.modules, threading.active_count())
"""


def test_importing_the_package_and_making_an_app_starts_nothing_and_reads_no_model() -> None:
    run = subprocess.run([sys.executable, "-c", NOTHING], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "1"]
