"""The results of a stress test, as stored in measurements.json; README.md explains the fields."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

FILE = "measurements.json"


class Waits(BaseModel):
    """Durations of one kind of answer, in milliseconds; zeros if there was none."""

    count: int = 0
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0


class Usage(BaseModel):
    """Resources during a step: means, and maxima in `most_...`."""

    cores: int = 0
    """Cores that the service may use; 0 if unknown."""
    cpu_server: float = 0.0
    cpu_workers: float = 0.0
    cpu_load: float = 0.0
    cpu_others: float = 0.0
    memory_bytes: float = 0.0
    most_memory_bytes: float = 0.0
    most_open_files: int = 0
    most_connections: int = 0
    loop_lag_ms: float = 0.0
    received_bytes_per_s: float = 0.0
    sent_bytes_per_s: float = 0.0
    written_bytes_per_s: float = 0.0

    @property
    def cpu(self) -> float:
        """Cores that the service used, including its workers."""
        return self.cpu_server + self.cpu_workers


class Step(BaseModel):
    """One level of load: `users` clients, measured for `seconds` from `began_s` of the monotonic clock."""

    users: int
    seconds: float
    began_s: float = 0.0
    rate: float | None = None
    requests_per_s: float = 0.0
    goodput_per_s: float = 0.0
    refused_per_s: float = 0.0
    rejected_per_s: float = 0.0
    failed_per_s: float = 0.0
    accepted: Waits = Waits()
    refused: Waits = Waits()
    rejected: Waits = Waits()
    failed: Waits = Waits()
    answered_after: Waits = Waits()
    by_picture: dict[str, Waits] = Field(default_factory=dict)
    outcomes: dict[str, int] = Field(default_factory=dict)
    usage: Usage | None = None

    def share(self, rate: float) -> float:
        """Share of all requests; 0 if there were none."""
        return rate / self.requests_per_s if self.requests_per_s else 0.0


class Counted(BaseModel):
    """Figures of a Prometheus server that scraped the service during the whole run; `answers` by status."""

    version: str
    answers: dict[str, float]
    most_in_flight: float


class Start(BaseModel):
    """Cold and hot start: seconds from the launch to the first answer, times of the first answer and of later ones."""

    launch_s: float
    first_ms: float
    hot_ms: float


class Run(BaseModel):
    """One sweep over the levels of load, against one service."""

    name: str
    service: str
    preset: str
    honours_retry_after: bool
    think_s: tuple[float, float]
    patience_s: float
    shape: str
    settings: str = ""
    stopped: str | None = None
    steps: list[Step] = Field(default_factory=list)
    start: Start | None = None
    prometheus: Counted | None = None

    def peak(self) -> Step:
        """The step with the most accepted answers a second. Raises ValueError if there is no step."""
        return max(self.steps, key=lambda step: step.goodput_per_s)

    def at(self, users: int) -> Step | None:
        return next((step for step in self.steps if step.users == users), None)


class Targets(BaseModel):
    """The targets of a run; None is no target."""

    least_goodput_per_s: float | None = None
    most_mean_ms: float | None = 300.0
    most_p99_ms: float | None = 1000.0
    most_failed: float | None = 0.005


class Picture(BaseModel):
    name: str
    bytes: int


class Machine(BaseModel):
    """The machine of the run."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str


class Measurements(BaseModel):
    """All results of one `make stress`; the first run is the one that is judged."""

    made: str
    seconds: float
    command: str
    machine: Machine
    versions: dict[str, str]
    pictures: list[Picture]
    targets: Targets = Targets()
    runs: list[Run]

    def run(self, name: str) -> Run | None:
        return next((run for run in self.runs if run.name == name), None)

    def write(self, folder: Path) -> Path:
        """Write the file into `folder` and return its path."""
        file = folder / FILE
        file.write_text(self.model_dump_json(indent=1) + "\n")
        return file


def read(path: Path) -> Measurements:
    """Read a file, or the file of a folder. Raises OSError, ValueError."""
    return Measurements.model_validate(json.loads((path / FILE if path.is_dir() else path).read_text()))


def latest(folder: Path, without: Sequence[Path] = ()) -> Path | None:
    """The newest report in a folder of reports, by its name, which is its date."""
    found = [file.parent for file in sorted(folder.glob(f"*/{FILE}")) if file.parent not in without]
    return found[-1] if found else None
