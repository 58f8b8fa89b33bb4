"""Runs commands of the command line: in a process of its own, or within the test."""

import subprocess
import sys
from pathlib import Path

import pytest

from faceattr_aio import cli
from tests.support.gate import PATIENCE_S
from tests.support.process import environment


def run(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run `faceattr-aio` in `folder`, with additional environment variables."""
    command = [sys.executable, "-m", "faceattr_aio", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment(**more), timeout=PATIENCE_S
    )


def analyze(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Run `faceattr-aio analyze` within the test. Return exit status, standard output and standard error."""
    status = cli.main(["analyze", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err
