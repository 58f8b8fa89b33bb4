"""How several serving processes add up their metrics: in files of a folder that the environment names, as the
Prometheus client has it. Knows no metric.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from faceattr_aio.telemetry.metrics import SHARED
from faceattr_aio.uploads.temp_dir import TempDir

_PREFIX = "faceattr-metrics-"


@contextmanager
def sharing_metrics() -> Iterator[None]:
    """For processes that are started meanwhile."""
    folder = TempDir(Path(tempfile.gettempdir()), _PREFIX)
    os.environ[SHARED] = str(folder.path)
    try:
        yield
    finally:
        del os.environ[SHARED]
        folder.close()


def forget_process(pid: int) -> None:
    """Takes what a process that has ended held out of the sums; what it counted stays."""
    mark_process_dead(pid, os.environ[SHARED])  # type: ignore[no-untyped-call]  # it is what it is
