"""Samples the resources of a service from outside once a second: CPU, memory, descriptors, connections, bytes; and the
lag of its event loop from /metrics, if it has it.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from statistics import fmean
from urllib.parse import urlsplit

import psutil
import requests
from prometheus_client.parser import text_string_to_metric_families

from bench.stress.measurements import Usage
from bench.support.served import proportional

PERIOD_S = 1.0
LAG = "faceattr_event_loop_lag_seconds"
_METRICS_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Sample:
    """CPU, lag and bytes are totals since the start; the others are current values."""

    at: float
    cores: int = 0
    cpu_server: float = 0.0
    cpu_workers: float = 0.0
    cpu_load: float = 0.0
    cpu_others: float = 0.0
    memory: int = 0
    open_files: int = 0
    connections: int = 0
    lag_s: float = 0.0
    lag_count: float = 0.0
    received: int = 0
    sent: int = 0
    written: int = 0


class Watch:
    """Samples in a thread until it is closed. `load` is the id of the process that generates the load, once it is
    known.
    """

    def __init__(self, pid: int, url: str) -> None:
        self.samples: list[Sample] = []
        self.load: int | None = None
        self._server, self._us = psutil.Process(pid), psutil.Process()
        self._url, self._port = url, urlsplit(url).port
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while not self._end.wait(PERIOD_S):
                self.samples.append(self._sample())

    def _sample(self) -> Sample:
        workers = self._server.children(recursive=True)
        everyone = [self._server, *workers]
        ours = {*everyone, self._us, *self._us.children(recursive=True)}
        wire = psutil.net_io_counters(pernic=True).get("lo")
        lag_s, lag_count = _lag(self._url)
        return Sample(
            at=time.monotonic(),
            cores=len(self._server.cpu_affinity()),
            cpu_server=cpu_s(self._server),
            cpu_workers=sum(cpu_s(worker) for worker in workers),
            cpu_load=_cpu_of(self.load),
            cpu_others=machine_cpu_s() - sum(cpu_s(process) for process in ours),
            memory=sum(proportional(process.pid) for process in everyone),
            open_files=self._server.num_fds(),
            connections=sum(self._ours(connection) for connection in self._server.net_connections("tcp")),
            lag_s=lag_s,
            lag_count=lag_count,
            received=wire.bytes_recv if wire else 0,
            sent=wire.bytes_sent if wire else 0,
            written=sum(_written(process) for process in everyone),
        )

    def _ours(self, connection: "psutil._ntuples.pconn") -> bool:
        return connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == self._port


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds that a process has used; 0 once it has ended."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def machine_cpu_s() -> float:
    """CPU seconds that all programs have used."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _cpu_of(pid: int | None) -> float:
    with suppress(psutil.NoSuchProcess):
        return cpu_s(psutil.Process(pid)) if pid else 0.0
    return 0.0


def _written(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return int(process.io_counters().write_bytes)
    return 0


def _lag(url: str) -> tuple[float, float]:
    """Sum and count of the lag in /metrics; zeros if there is none."""
    seen = {f"{LAG}_sum": 0.0, f"{LAG}_count": 0.0}
    with suppress(requests.RequestException, ValueError):
        response = requests.get(f"{url}/metrics", timeout=_METRICS_TIMEOUT_S)
        if response.ok:
            for family in text_string_to_metric_families(response.text):
                seen |= {sample.name: sample.value for sample in family.samples if sample.name in seen}
    return seen[f"{LAG}_sum"], seen[f"{LAG}_count"]


def usage(samples: Sequence[Sample], began_s: float, seconds: float) -> Usage | None:
    """Means and maxima over that time; None if there are too few samples."""
    within = [sample for sample in samples if began_s - PERIOD_S / 2 <= sample.at <= began_s + seconds + PERIOD_S / 2]
    if len(within) < 2:  # noqa: PLR2004  # a difference takes two
        return None
    first, last = within[0], within[-1]
    lasted = last.at - first.at
    grown = {field.name: getattr(last, field.name) - getattr(first, field.name) for field in fields(Sample)}
    rates = {name: max(0.0, total) / lasted for name, total in grown.items()}

    return Usage(
        cores=last.cores,
        cpu_server=rates["cpu_server"],
        cpu_workers=rates["cpu_workers"],
        cpu_load=rates["cpu_load"],
        cpu_others=rates["cpu_others"],
        memory_bytes=fmean(sample.memory for sample in within),
        most_memory_bytes=max(sample.memory for sample in within),
        most_open_files=max(sample.open_files for sample in within),
        most_connections=max(sample.connections for sample in within),
        loop_lag_ms=grown["lag_s"] / grown["lag_count"] * 1e3 if grown["lag_count"] else 0.0,
        received_bytes_per_s=rates["received"],
        sent_bytes_per_s=rates["sent"],
        written_bytes_per_s=rates["written"],
    )
