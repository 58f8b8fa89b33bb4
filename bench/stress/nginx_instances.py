"""Starts three servers behind a real nginx with the configuration file of this project; an instance can be killed and
restarted.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.stress.probes import BY
from bench.stress.services import free_port
from bench.support.served import QUIET, ROOT, Server, start_program

INSTANCES = 3
PATIENCE_S, LOOK_S = 30.0, 0.05
_OURS = ROOT / "conf" / "nginx" / "faceattr-instances.conf"
_NGINX = """
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    add_header %(by)s $upstream_addr always;
    include ours.conf;
}
"""


def installed() -> bool:
    return shutil.which("nginx") is not None


@dataclass
class Instance:
    """One server at its own port; `server` is its current process."""

    port: int
    launch: Callable[[int], Server]
    server: Server

    def kill(self) -> None:
        self.server.kill_all()

    def restart(self) -> None:
        """Start it again at the same port; does not wait until it is ready."""
        self.server = self.launch(self.port)


@contextmanager
def start_instances(folder: Path, config: str) -> Iterator[tuple[str, list[Instance]]]:
    """Yield the balancer's address, and the servers behind it, when all are ready."""
    file = folder / "instance.toml"
    file.write_text(config)
    with ExitStack() as ends, (folder / "log").open("w") as log:

        def launch(port: int) -> Server:
            program = [sys.executable, "-m", "faceattr_aio", "serve", f"--port={port}", f"--config={file}"]
            return start_program(program, f"http://127.0.0.1:{port}", folder, QUIET, set(), log)

        instances = []
        for _ in range(INSTANCES):
            port = free_port()
            instances.append(Instance(port, launch, launch(port)))
            ends.callback(instances[-1].kill)
        balancer = _balance(folder, instances)
        ends.callback(balancer.kill_all)
        for url in [instance.server.url for instance in instances] + [balancer.url]:
            _until_ready(url)
        yield balancer.url, instances


def _balance(folder: Path, instances: list[Instance]) -> Server:
    """Start nginx with the project's file, with other addresses."""
    port = free_port()
    ours = _OURS.read_text().replace("listen 80;", f"listen 127.0.0.1:{port};")
    for number, instance in enumerate(instances):
        ours = ours.replace(f"server 127.0.0.1:{5000 + number} ", f"server 127.0.0.1:{instance.port} ")
    (folder / "ours.conf").write_text(ours)
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX % {"by": BY})
    with (folder / "nginx.log").open("w") as log:
        command = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(configuration), "-g", "daemon off;"]
        return start_program(command, f"http://127.0.0.1:{port}", folder, {}, set(), log)


def _until_ready(url: str) -> None:
    """Wait until /readyz answers 200. Raises TimeoutError."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if requests.get(f"{url}/readyz", timeout=PATIENCE_S).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(LOOK_S)
    raise TimeoutError(f"{url} did not become ready within {PATIENCE_S:g} s.")
