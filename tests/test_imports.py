"""Imports follow the order of the folders, and libraries are imported only in the folders that exist for them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "faceattr_aio"

ORDER = (
    {"errors"},
    {"pipeline", "schemas"},
    {"config", "client"},
    {"admission"},
    {"uploads"},
    {"inference"},
    {"cache"},
    {"telemetry", "jobs"},
    {"web"},
    {"__init__"},
    {"cli", "__main__"},
)
"""From the bottom to the top. A module imports from its own folder and from lower levels."""

PIPELINES = {"pipelines", "faces", "holistic", "anime", "imaging"}
"""Imported by dotted name in a worker, never by the rest of the package; the last four are aliases."""
FOR_PIPELINES = {"errors", "pipeline", "schemas", "uploads.formats"}
"""What pipelines import."""
FOR_WORKERS = {"errors", "pipeline"}
"""What a worker process imports besides its pipelines."""
WORKER = {"inference/worker.py", "inference/_preload.py"}

LIBRARIES = {
    "aiofiles": {"uploads"},
    "aiohttp": {"cli", "client", "jobs", "telemetry", "web"},
    "cv2": {"pipelines"},
    "numpy": {"pipelines"},
    "openvino": {"pipelines"},
    "opentelemetry": {"cli", "telemetry"},
    "prometheus_client": {"cli", "telemetry", "web"},
    "celery": {"jobs"},
    "redis": {"admission", "cache", "jobs"},
    "uvloop": {"cli"},
}
"""The folders and modules that may import each library."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """The first part of the path: a folder, or a module at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(name: str) -> int:
    return next(i for i, names in enumerate(ORDER) if name in names)


def imported(path: Path) -> set[str]:
    """The dotted names of everything that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(path: Path) -> set[str]:
    """The imports from the package, without its name."""
    names = {name.partition(".")[2] for name in imported(path) if name.split(".")[0] == PACKAGE.name}
    return {name if _exists(name.split(".")[0]) else "__init__" for name in names}


def _exists(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", modules(), ids=named)
def test_imports_point_down_the_order_of_folders(path: Path) -> None:
    if unit(path) in PIPELINES:
        outside = {name for name in own_imports(path) if name.split(".")[0] not in PIPELINES}
        assert not {name for name in outside if not name.startswith(tuple(FOR_PIPELINES))}
    else:
        units = {name.split(".")[0] for name in own_imports(path)}
        assert not units & PIPELINES
        assert not {name for name in units if level(name) > level(unit(path))}


@pytest.mark.parametrize("path", sorted(WORKER))
def test_a_worker_imports_neither_the_server_nor_a_pipeline(path: str) -> None:
    assert not {name for name in own_imports(PACKAGE / path) if name.split(".")[0] not in FOR_WORKERS}


@pytest.mark.parametrize("path", modules(), ids=named)
def test_a_library_is_imported_only_in_its_folders(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imported(path)}
    assert not {name for name in libraries & LIBRARIES.keys() if unit(path) not in LIBRARIES[name]}


@pytest.mark.parametrize("path", sorted(path for path in modules() if unit(path) not in PIPELINES), ids=named)
def test_the_server_does_not_name_a_pipeline_or_a_vision_library(path: Path) -> None:
    if unit(path) in {"admission", "uploads", "inference", "web", "cache", "jobs"}:
        code = ast.unparse(_without_docstrings(ast.parse(path.read_text())))
        assert not re.findall(r"\b(holistic|anime|cv2|FaceAttributes)\b", code)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0] = ast.Pass()
    return tree


@pytest.mark.parametrize("path", modules(), ids=named)
def test_a_module_opens_with_a_docstring(path: Path) -> None:
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


LOADING = (
    "import sys, faceattr_aio.inference.worker; print(*sorted({'aiohttp', 'pydantic_settings'} & sys.modules.keys()))"
)


def test_a_worker_process_does_not_import_the_web_framework() -> None:
    run = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=True)
    assert not run.stdout.split()


@pytest.mark.parametrize("name", ["faces", "holistic", "anime", "imaging"])
def test_an_old_dotted_name_gives_the_identical_module(name: str) -> None:
    code = f"import faceattr_aio.{name} as old, faceattr_aio.pipelines.{name} as new; print(old is new)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True"]
