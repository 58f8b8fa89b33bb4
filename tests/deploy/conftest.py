"""Starts the daemons that the server is deployed with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.deploy.daemon import Daemon, Launch
from tests.deploy.store import Store


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a daemon in the folder of the test; daemons that still run at the end are stopped."""
    daemons: list[Daemon] = []

    def launch_one(command: Sequence[str], **environment: str) -> Daemon:
        daemons.append(Daemon(command, tmp_path, environment))
        return daemons[-1]

    yield launch_one
    for daemon in daemons:
        daemon.end()


@pytest.fixture(scope="package")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(lambda command: Daemon(command, tmp_path_factory.mktemp("redis"), {}))
    yield store
    store.client.close()
    store.daemon.end()


@pytest.fixture
def store(shared_store: Store) -> Store:
    """An empty Redis that all tests share. A test that stops Redis uses `own_store`."""
    shared_store.client.flushall()
    return shared_store


@pytest.fixture
def own_store(launch: Launch) -> Iterator[Store]:
    """A Redis that the test may stop."""
    store = Store(launch)
    yield store
    store.client.close()
