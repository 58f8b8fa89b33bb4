"""Limits other than cores: the demand of a plan on one machine that balances all requests, the capacity of such a
machine, and the source of each figure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stress.connections import descriptors
from bench.stress.planning import Plan

FULL = 0.7
"""Share of a limit that daily use may reach."""
_TIME_WAIT_S = 60.0
_HEADERS = 500
"""Bytes of HTTP, TCP and IP headers for a picture and its answer, in addition to 4 % for packets."""
_PACKETS = 1.04


@dataclass(frozen=True)
class Machine:
    """A balancing machine: CPU seconds of a request, bytes of a connection in nginx and in the kernel, with the source
    of these figures; its network card in Gbit/s, memory in GB, cores. `descriptors` are for one process.
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
    """A demand `asked` and the capacity `most`, in the same unit."""

    name: str
    asked: float
    most: float
    unit: str
    source: str

    @property
    def share(self) -> float:
        return self.asked / self.most


def ports() -> int:
    """Number of local ports for connections from one address to one other."""
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(last) - int(first) + 1


def limits(plan: Plan, picture_bytes: float, machine: Machine) -> list[Limit]:
    """The limits of one balancer in front of all instances; the largest share comes first."""
    connections = plan.demand.users + plan.instances * plan.size.limit
    gbit = plan.rate * (picture_bytes + _HEADERS) * _PACKETS * 8 / 1e9
    memory = connections * machine.connection_bytes / 1e9
    each = plan.rate / plan.instances
    process = machine.descriptors or descriptors()
    found = [
        Limit("network card", gbit, machine.card_gbit, "Gbit/s", "pictures/s x mean size; the card is given"),
        Limit("balancer's CPU", plan.rate * machine.request_cpu_s, machine.cores, "cores", machine.source),
        Limit("descriptors", connections, process * machine.cores, "", f"{process} for each process on this machine"),
        Limit("memory of connections", memory, machine.memory_gb, "GB", machine.source),
        Limit("ports", plan.size.limit, ports(), "", "limit of one instance; the port range of this machine"),
        Limit("ports, connections not kept", each * _TIME_WAIT_S, ports(), "", "60 s in TIME_WAIT, to one instance"),
        Limit(
            "ports, all instances at one address",
            plan.rate * _TIME_WAIT_S,
            ports(),
            "",
            "60 s in TIME_WAIT, to all instances",
        ),
    ]
    return sorted(found, key=lambda limit: -limit.share)


def usual(found: Sequence[Limit]) -> list[Limit]:
    """The limits that apply to any set-up: with kept connections, and an address for each instance."""
    return [limit for limit in found if not limit.name.startswith("ports, ")]


def balancers(found: Sequence[Limit]) -> int:
    """Number of balancers for which no limit is used by more than FULL."""
    return math.ceil(max(limit.share for limit in usual(found)) / FULL)


def breaks_first(found: Sequence[Limit]) -> str:
    """The exceeded limits, or the nearest one."""
    beyond = [limit for limit in usual(found) if limit.share > 1] or usual(found)[:1]
    return ", ".join(f"{limit.name} {limit.share:.0%}" for limit in beyond)
