"""API keys of a real server, and its warning when it can be used without one."""

from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.support.cli import run
from tests.support.process import TRICK, Server, start_server

KEY, OTHER = "one-key-of-sixteen", "another-of-sixteen"
WARNING = "can use this server: set auth.keys or auth.keys_file"


def ask(server: Server, png: bytes, **headers: str) -> int:
    return httpx.post(f"{server.url}/trick", content=png, headers={"Content-Type": "image/png", **headers}).status_code


def test_keys_come_from_the_environment_and_from_a_file(start: StartServer, tmp_path: Path, png: bytes) -> None:
    (tmp_path / "keys.txt").write_text(f"# the other one\n{OTHER}\n")
    server = start(f"[auth]\nkeys_file = 'keys.txt'\n{TRICK}", FACEATTR_AUTH__KEYS=f"third-{KEY},{KEY}")
    assert ask(server, png, Authorization=f"Bearer {KEY}") == 200
    assert ask(server, png, **{"X-API-Key": OTHER}) == 200
    assert ask(server, png, **{"X-API-Key": "the other one"}) == 401
    assert ask(server, png) == 401
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "The file of API keys keys.txt cannot be read"),
        ("# none\n", "The file of API keys keys.txt has no key"),
        ("hush-hush\n", "Line 1 of keys.txt is not an API key"),
    ],
)
def test_an_invalid_file_of_keys_prevents_the_start(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "keys.txt").write_text(content)
    ended = run(tmp_path, "serve", "--port", "0", FACEATTR_AUTH__KEYS_FILE="keys.txt")
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "hush" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [("0.0.0.0", "", True), ("0.0.0.0", f"[auth]\nkeys = ['{KEY}']", False), ("127.0.0.1", "", False)],  # noqa: S104
)
def test_warns_if_the_network_can_reach_it_without_a_key(host: str, keys: str, warned: bool, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        server = start_server(tmp_path, f"[server]\nhost = '{host}'\n{keys}\n{TRICK}", {}, log=file)
    server.kill()
    assert (WARNING in log.read_text()) is warned
    assert KEY not in log.read_text()
