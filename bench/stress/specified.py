"""The tables of specifications 002 and 003, for comparison: services that queue requests, on other machines, with
clients that think for 1 to 3 s.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One number of users; None if the specification has no figure. Errors and CPU are shares; 1.0 is the machine."""

    users: int
    errors: float
    cpu: float
    mean_ms: float
    requests_per_s: float | None = None
    p95_ms: float | None = None
    memory: str = ""


HOLISTIC = (
    Row(10, 0.0, 0.45, 121, 8.2, 180),
    Row(20, 0.0, 0.68, 198, 14.6, 310),
    Row(40, 0.012, 0.89, 342, 18.3, 520),
    Row(60, 0.067, 0.98, 580, 17.1, 890),
    Row(80, 0.183, 1.0, 920, 12.4, 1350),
)
"""Specification 002: a Holistic service on 4 virtual cores, pictures of 640 x 480."""
ANIME = (
    Row(10, 0.0, 0.65, 1800, memory="1.2 GB"),
    Row(20, 0.0, 0.80, 2500, memory="1.4 GB"),
    Row(30, 0.013, 0.95, 4100, memory="1.6 GB"),
    Row(40, 0.108, 1.0, 7300, memory="1.8 GB"),
    Row(50, 0.365, 1.0, 12600, memory="almost out of memory"),
)
"""Specification 003: AnimeGANv2 on 2 cores and 4 GB, a selfie of 1 MB."""
