"""What a run means: the targets it keeps, the last load that is safe, what gives way first, and what to do about it.
Knows no service but by its measurements.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.stress.measurements import Run, Step, Targets

BUSY = 0.85
"""Of a core: nothing more is to be had from who is at it."""
LATE_MS = 50.0
SAFE_REFUSED = 0.01
MEMORY_GROWS = 1.5
FULL_WAIT = 10.0
"""Waiting times of one user, after which requests queue up rather than being refused."""


@dataclass(frozen=True)
class Verdict:
    """One target: what was asked, what was measured, whether it was kept."""

    target: str
    measured: str
    kept: bool


def verdicts(run: Run, targets: Targets) -> list[Verdict]:
    """Goodput counts at its best; mean, P99 and failures over all levels, at their worst."""
    found: list[Verdict] = []

    def add(name: str, bound: float | None, value: float, text: Callable[[float], str], *, least: bool = False) -> None:
        if bound is not None:
            kept = value >= bound if least else value <= bound
            found.append(Verdict(f"{name} {'>=' if least else '<='} {text(bound)}", text(value), kept))

    answered = [step for step in run.steps if step.accepted.count]
    requests = sum(step.requests_per_s * step.seconds for step in run.steps)
    failed = sum(step.failed_per_s * step.seconds for step in run.steps) / requests if requests else 0.0
    worst_mean = max((step.accepted.mean_ms for step in answered), default=0.0)
    worst_p99 = max((step.accepted.p99_ms for step in answered), default=0.0)
    add("goodput", targets.least_goodput_per_s, run.peak().goodput_per_s, "{:.1f}/s".format, least=True)
    add("mean of the accepted", targets.most_mean_ms, worst_mean, "{:.0f} ms".format)
    add("P99 of the accepted", targets.most_p99_ms, worst_p99, "{:.0f} ms".format)
    add("failed", targets.most_failed, failed, "{:.2%}".format)
    return found


def last_safe(run: Run, targets: Targets) -> Step | None:
    """The last level up to which all targets but goodput are kept and hardly anything is refused."""
    safe = None
    for step in run.steps:
        if not _is_safe(step, targets):
            break
        safe = step
    return safe


def _is_safe(step: Step, targets: Targets) -> bool:
    bounds = (
        (step.accepted.mean_ms, targets.most_mean_ms),
        (step.accepted.p99_ms, targets.most_p99_ms),
        (step.share(step.failed_per_s), targets.most_failed),
        (step.share(step.refused_per_s), SAFE_REFUSED),
    )
    return all(bound is None or value <= bound for value, bound in bounds)


@dataclass(frozen=True)
class Symptom:
    """Something that gives way; `seen` says whether it does in a step, beside the first step."""

    name: str
    advice: str
    seen: Callable[[Step, Step], bool]


def _uses(part: str, cores: float = 1.0) -> Callable[[Step, Step], bool]:
    return lambda step, _: step.usage is not None and getattr(step.usage, part) >= BUSY * cores


SYMPTOMS = (
    Symptom(
        "the load generator: its core is full, so what follows is its limit rather than the service's",
        "Make the load on more machines (Locust's --master and --worker), or with fewer requests.",
        _uses("cpu_load"),
    ),
    Symptom(
        "the server's own process: its event loop is busy",
        "Start several processes (--processes), take raw bodies instead of forms, or put machines beside it.",
        _uses("cpu_server"),
    ),
    Symptom(
        "the workers' CPU: every core they may use is busy with pictures",
        "More cores or instances; smaller pictures, a faster backend, or a cache; a lower limit does not help.",
        _uses("cpu_workers"),
    ),
    Symptom(
        "CPU: the cores that the service may use are full, of its own process and its workers together",
        "More cores or instances; smaller pictures, a faster backend, or a cache; a lower limit does not help.",
        lambda step, _: step.usage is not None and step.usage.cpu >= BUSY * (step.usage.cores or math.inf),
    ),
    Symptom(
        "the event loop: it comes back late, so even refusals wait",
        "Find what holds it (large bodies, work in the loop), or leave it a core of its own.",
        lambda step, _: step.usage is not None and step.usage.loop_lag_ms >= LATE_MS,
    ),
    Symptom(
        "the queue: answers take many times as long as for one user, and hardly anything is refused",
        "Bound what waits, and refuse the rest at once; agree on how long a client may wait.",
        lambda step, first: (
            step.accepted.p50_ms >= FULL_WAIT * max(first.accepted.p50_ms, 1.0)
            and step.refused_per_s < step.goodput_per_s / 10
        ),
    ),
    Symptom(
        "the queue: clients have given up before their answers come, and are worked for in vain",
        "Bound what waits, and refuse the rest at once; drop work whose client has gone.",
        lambda step, _: step.share(step.failed_per_s) > 1 / 2 and _mostly(step, "timed out"),
    ),
    Symptom(
        "the limit of what is in flight: bursts are refused, though there is time left to work",
        "Let more wait (inference.limit), if clients bear limit / workers x the time of a picture; or add workers.",
        lambda step, _: step.share(step.refused_per_s) > SAFE_REFUSED,
    ),
    Symptom(
        "memory: it grows with the load",
        "Bound the size of uploads and how many are worked on at once; recycle workers if it stays.",
        lambda step, first: (
            step.usage is not None
            and first.usage is not None
            and step.usage.most_memory_bytes > MEMORY_GROWS * first.usage.memory_bytes
        ),
    ),
)


def _mostly(step: Step, outcome: str) -> bool:
    faults = Counter({name: count for name, count in step.outcomes.items() if not name.isdecimal()})
    return bool(faults) and faults.most_common(1)[0][0] == outcome


def first_bottleneck(run: Run) -> tuple[Step, Symptom] | None:
    """What gives way at the fewest users."""
    for step in run.steps:
        for symptom in SYMPTOMS:
            if symptom.seen(step, run.steps[0]):
                return step, symptom
    return None


def errors(runs: Sequence[Run]) -> dict[str, Counter[str]]:
    """Outcomes of each run, all levels together."""
    return {run.name: sum((Counter(step.outcomes) for step in run.steps), Counter()) for run in runs}
