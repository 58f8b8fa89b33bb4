"""Daemons for the tests of the files that we are deployed with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.deploy.daemon import Daemon, Launch
from tests.deploy.store import Store


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a daemon in the test's folder; what still runs at the end is ended."""
    daemons: list[Daemon] = []

    def launch_one(command: Sequence[str], **environment: str) -> Daemon:
        daemons.append(Daemon(command, tmp_path, environment))
        return daemons[-1]

    yield launch_one
    for daemon in daemons:
        daemon.end()


@pytest.fixture
def store(launch: Launch) -> Iterator[Store]:
    store = Store(launch)
    yield store
    store.client.close()
