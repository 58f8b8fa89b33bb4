"""Starts a real Redis for tests."""

import time
from typing import Any

from redis import Redis

from tests.deploy.daemon import Daemon, Launch, free_port, installed


class Store:
    """A Redis without persistence, and a client of it."""

    def __init__(self, launch: Launch) -> None:
        self._port, self._launch = free_port(), launch
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client: Redis = Redis.from_url(self.url)
        self.daemon = self.start()

    def start(self) -> Daemon:
        program = installed("redis-server", "redis-server")
        daemon = self._launch([program, "--port", str(self._port), "--save", "", "--appendonly", "no"])
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, daemon.log
            time.sleep(0.02)
        return daemon

    def keys(self) -> list[bytes]:
        found: Any = self.client.keys("*")
        return list(found)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except OSError:
            return False
        except Exception as error:  # noqa: BLE001  # the client has several while Redis starts or loads
            return type(error).__name__ not in {"ConnectionError", "BusyLoadingError"}
