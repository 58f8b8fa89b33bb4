"""Requests that schemathesis generates from the OpenAPI document, against a real server."""

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
def test_schemathesis_finds_no_issue(start: StartServer, tmp_path: Path, keys: list[str]) -> None:
    server = start(f"[inference]\nworkers = 1\n[auth]\nkeys = {json.dumps(keys)}\n[pipelines.faces]\n")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--seed", "1", "--no-color"),
            *("--exclude-path", "/admin/reload"),  # takes a second each time, and needs an admin key
            *("--suppress-health-check", "all", "--request-timeout", "60"),  # slow answers are no issue here
            *("--warnings", "missing_auth,validation_mismatch"),  # ids of jobs cannot be guessed
            *(part for key in keys for part in ("--header", f"Authorization: Bearer {key}")),
        ],
        cwd=tmp_path,  # schemathesis writes its results here
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.hooks_schemathesis", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout
