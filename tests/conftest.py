"""Fixtures of all tests: pictures and real servers. In CI a test may be skipped only for a reason in a list."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from aiohttp import ClientSession, web

from faceattr_aio.config.schema import Config
from faceattr_aio.inference.executor import Executor
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipelines.imaging import Pixels
from tests.support.executors import MakeExecutor
from tests.support.executors import config as executor_config
from tests.support.gate import Gate
from tests.support.process import Server, start_server

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
Serve = Callable[[web.Application], Awaitable[str]]
StartServer = Callable[..., Server]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Turn a skip into a failure in CI, unless its reason is in ALLOWED_SKIPS."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # a wrapper is sent the result
    if report.skipped and os.environ.get("CI") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        allowed = [line for line in ALLOWED_SKIPS.read_text().splitlines() if line and not line.startswith("#")]
        if not reason.startswith(tuple(allowed)):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI for a reason that is not in {ALLOWED_SKIPS.name}: {reason}"
    return report  # type: ignore[return-value]  # see above


@pytest.fixture(scope="session")
def astronaut() -> Pixels:
    """Eileen Collins, NASA, public domain: 512 x 512 with one face at x 173, y 68, 106 x 106."""
    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])  # type: ignore[no-untyped-call]  # scikit-image has no types


@pytest.fixture(scope="session")
def png(astronaut: Pixels) -> bytes:
    return cv2.imencode(".png", astronaut)[1].tobytes()


@pytest.fixture(scope="session")
def jpeg(astronaut: Pixels) -> bytes:
    return cv2.imencode(".jpg", astronaut)[1].tobytes()


@pytest.fixture
def png_file(tmp_path: Path, png: bytes) -> Path:
    path = tmp_path / "astronaut.png"
    path.write_bytes(png)
    return path


@pytest.fixture(scope="session")
def store() -> ModelStore:
    return ModelStore(Config().models.dir)


@pytest.fixture
def models_folder(tmp_path: Path, store: ModelStore) -> Path:
    """A folder with copies of the models of the default settings, which the test may change."""
    folder = tmp_path / "models"
    folder.mkdir()
    entry = Config().pipelines["faces"]
    for name in entry.declaration.models(entry.settings):
        shutil.copy(store.verify(name).path, folder)
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path | None:
    """The folder of data that cannot be published, or None."""
    folder = os.environ.get("FACEATTR_TEST_DATA")
    return Path(folder) if folder else None


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves an app on a real socket and returns its URL."""
    runners: list[web.AppRunner] = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app, shutdown_timeout=5)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Starts `faceattr-aio serve` in a separate process. Servers that still run at the end are killed."""
    servers: list[Server] = []

    def start_one(config: str = "", **environment: str) -> Server:
        server = start_server(tmp_path, config, environment)
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        server.kill()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Holds workers that run the pipeline `tests.support.pipelines:Trick` with `gate.folder`."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@pytest.fixture(params=["process", "thread"])
async def make_executor(request: pytest.FixtureRequest) -> AsyncIterator[MakeExecutor]:
    """Starts executors; the test runs once with processes and once with threads as workers."""
    executors: list[Executor] = []

    async def start(trick: dict[str, Any] | None = None, **inference: object) -> Executor:
        executor = Executor(executor_config(trick, **{"pool": request.param, **inference}))
        executors.append(executor)
        await executor.start()
        return executor

    yield start
    for executor in executors:
        await executor.close()
