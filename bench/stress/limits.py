"""What else runs out when cores do not: what a plan asks of one machine that stands in front of all, beside what such a
machine has, and where that figure comes from. Knows no simulation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stress.connections import descriptors
from bench.stress.planning import Plan

FULL = 0.7
"""Of a limit, for daily use."""
_TIME_WAIT_S = 60.0
_HEADERS = 500
"""Bytes of HTTP, TCP and IP around a picture and its answer, beside 4 % for the packets' own."""
_PACKETS = 1.04


@dataclass(frozen=True)
class Machine:
    """One that balances: CPU seconds of a request, bytes of a connection in nginx and in the kernel, each with where it
    comes from; its network card in Gbit/s, memory in GB, cores. `descriptors` are of one process.
    """

    request_cpu_s: float
    connection_bytes: float
    source: str
    card_gbit: float = 10.0
    memory_gb: float = 16.0
    cores: int = 8
    descriptors: int = 0


@dataclass(frozen=True)
class Limit:
    """`asked` of the `most` there is, in the same unit."""

    name: str
    asked: float
    most: float
    unit: str
    source: str

    @property
    def share(self) -> float:
        return self.asked / self.most


def ports() -> int:
    """Ports that one address of ours has for connections to one other."""
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(last) - int(first) + 1


def limits(plan: Plan, picture_bytes: float, machine: Machine) -> list[Limit]:
    """With one balancer in front of all; what is nearest to its end comes first."""
    connections = plan.wish.users + plan.instances * plan.size.limit
    gbit = plan.rate * (picture_bytes + _HEADERS) * _PACKETS * 8 / 1e9
    memory = connections * machine.connection_bytes / 1e9
    each = plan.rate / plan.instances
    process = machine.descriptors or descriptors()
    found = [
        Limit("network card", gbit, machine.card_gbit, "Gbit/s", "pictures/s x mean size; the card is given"),
        Limit("balancer's CPU", plan.rate * machine.request_cpu_s, machine.cores, "cores", machine.source),
        Limit("descriptors", connections, process * machine.cores, "", f"{process} for each process, as here"),
        Limit("memory of connections", memory, machine.memory_gb, "GB", machine.source),
        Limit("ports", plan.size.limit, ports(), "", "limit of one instance; the port range here"),
        Limit("ports, none kept", each * _TIME_WAIT_S, ports(), "", "60 s in TIME_WAIT, to one instance"),
        Limit("ports, to one address", plan.rate * _TIME_WAIT_S, ports(), "", "the same, instances behind one address"),
    ]
    return sorted(found, key=lambda limit: -limit.share)


def usual(found: Sequence[Limit]) -> list[Limit]:
    """Without those that only count where a balancer keeps no connection, or sees all instances behind one address."""
    return [limit for limit in found if not limit.name.startswith("ports, ")]


def balancers(found: Sequence[Limit]) -> int:
    """How many are needed so that nothing is fuller than that."""
    return math.ceil(max(limit.share for limit in usual(found)) / FULL)


def breaks_first(found: Sequence[Limit]) -> str:
    """What is beyond its end, or else nearest to it."""
    beyond = [limit for limit in usual(found) if limit.share > 1] or usual(found)[:1]
    return ", ".join(f"{limit.name} {limit.share:.0%}" for limit in beyond)
