"""Describes the machine of a stress test, and the versions of packages."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from bench.stress.measurements import Machine

PACKAGES = ("faceattr-aio", "aiohttp", "uvloop", "opencv-python-headless", "numpy", "locust", "gevent", "psutil")


def describe_machine() -> Machine:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        python=platform.python_version(),
    )


def versions() -> dict[str, str]:
    """Versions of the relevant packages."""
    return {package: version(package) for package in PACKAGES}
