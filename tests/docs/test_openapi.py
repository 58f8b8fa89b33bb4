"""The interface's description against a real server, by requests that are made up from it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.process import ROOT

KEY = "0123456789abcdef"


@pytest.mark.parametrize("keys", [[], [KEY]])
def test_schemathesis_finds_nothing(start: StartServer, tmp_path: Path, keys: list[str]) -> None:
    server = start(f"[inference]\nworkers = 1\n[auth]\nkeys = {json.dumps(keys)}\n[pipelines.faces]\n")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--seed", "1", "--no-color"),
            *("--exclude-path", "/admin/reload"),  # takes a second each time, and a key of its own
            *("--suppress-health-check", "all", "--request-timeout", "60"),  # slowness is no finding of this test
            *("--warnings", "missing_auth,validation_mismatch"),  # nobody can guess the id of a job
            *(part for key in keys for part in ("--header", f"Authorization: Bearer {key}")),
        ],
        cwd=tmp_path,  # where it keeps what it finds
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.hooks_schemathesis", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout
