"""Runs a real nginx in front of instances for the time of a measurement."""

import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.stress.simulation import Rule
from bench.support.served import Server, start_program

PATIENCE_S = 10.0
_RULES: dict[Rule, str] = {"least_conn": "least_conn", "two_choices": "random two least_conn"}
_SETTINGS = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 21m;
    client_body_buffer_size 1m;
    keepalive_timeout 600s;
    keepalive_requests 1000000;
    upstream instances {{
        {rule};
        {servers}
        keepalive 256;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://instances;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def missing() -> str | None:
    """The reason why no balancer can be started; None if it can."""
    return None if shutil.which("nginx") else "nginx is not installed"


@contextmanager
def balanced(
    instances: Sequence[str], rule: Rule, folder: Path, cores: set[int], connections: int = 4096
) -> Iterator[Server]:
    """Run one nginx process on those cores, in front of those URLs. Several processes would count connections
    separately, unless the upstream has a `zone`. Raises FileNotFoundError without nginx, TimeoutError if it does not
    start.
    """
    program, port = shutil.which("nginx"), _free_port()
    if program is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx-light")
    servers = " ".join(f"server {url.removeprefix('http://')} max_fails=0;" for url in instances)
    file = folder / "nginx.conf"
    text = _SETTINGS.format(folder=folder, rule=_RULES[rule], servers=servers, port=port, connections=connections)
    file.write_text(text)
    with (folder / "nginx.log").open("w") as log:
        command = [program, "-e", "stderr", "-c", str(file)]
        server = start_program(command, f"http://127.0.0.1:{port}", folder, {}, cores, log)
        try:
            _await(server, port)
            yield server
        finally:
            server.kill_all()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await(server: Server, port: int) -> None:
    patience = time.monotonic() + PATIENCE_S
    while server.process.poll() is None and time.monotonic() < patience:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("nginx did not start; its log has the reason")
