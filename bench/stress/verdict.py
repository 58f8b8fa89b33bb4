"""Interprets a run: the targets it meets, the last safe load, the first bottleneck, and advice about it."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.stress.measurements import Run, Step, Targets

BUSY = 0.85
"""Share of a core's time from which on it counts as fully used."""
LATE_MS = 50.0
SAFE_REFUSED = 0.01
MEMORY_GROWS = 1.5
FULL_WAIT = 10.0
"""Multiple of the time for one user from which on requests queue rather than being refused."""


@dataclass(frozen=True)
class Verdict:
    """One target: its limit, the measured value, and whether it is met."""

    target: str
    measured: str
    kept: bool


def verdicts(run: Run, targets: Targets) -> list[Verdict]:
    """Judge each target. Goodput counts at its best level; mean, P99 and failures at their worst or over all levels."""
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
    add("mean of accepted answers", targets.most_mean_ms, worst_mean, "{:.0f} ms".format)
    add("P99 of accepted answers", targets.most_p99_ms, worst_p99, "{:.0f} ms".format)
    add("failed", targets.most_failed, failed, "{:.2%}".format)
    return found


def last_safe(run: Run, targets: Targets) -> Step | None:
    """The last level up to which all targets except goodput are met and at most 1 % is refused."""
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
    """A bottleneck; `seen` decides whether it appears in a step, compared with the first step."""

    name: str
    advice: str
    seen: Callable[[Step, Step], bool]


def _uses(part: str, cores: float = 1.0) -> Callable[[Step, Step], bool]:
    return lambda step, _: step.usage is not None and getattr(step.usage, part) >= BUSY * cores


SYMPTOMS = (
    Symptom(
        "the load generator: its core is fully used, so it limits the figures of higher levels",
        "Run the load on more machines (Locust's --master and --worker), or send fewer requests.",
        _uses("cpu_load"),
    ),
    Symptom(
        "the server's own process: its event loop is busy",
        "Start several processes (--processes), send raw bodies instead of forms, or add machines.",
        _uses("cpu_server"),
    ),
    Symptom(
        "the workers' CPU: every core that they may use is fully used",
        "Add cores or instances; use smaller pictures, a faster backend, or a cache; a lower limit does not help.",
        _uses("cpu_workers"),
    ),
    Symptom(
        "CPU: its own process and its workers together use all cores that the service may use",
        "Add cores or instances; use smaller pictures, a faster backend, or a cache; a lower limit does not help.",
        lambda step, _: step.usage is not None and step.usage.cpu >= BUSY * (step.usage.cores or math.inf),
    ),
    Symptom(
        "the event loop: it is late, so even refusals wait",
        "Find what blocks it (large bodies, work on the loop), or reserve a core for it.",
        lambda step, _: step.usage is not None and step.usage.loop_lag_ms >= LATE_MS,
    ),
    Symptom(
        "the queue: answers take many times as long as for one user, and almost nothing is refused",
        "Limit the queue and refuse the rest at once; define how long a client may wait.",
        lambda step, first: (
            step.accepted.p50_ms >= FULL_WAIT * max(first.accepted.p50_ms, 1.0)
            and step.refused_per_s < step.goodput_per_s / 10
        ),
    ),
    Symptom(
        "the queue: clients have given up before their answers arrive, so that the work is wasted",
        "Limit the queue and refuse the rest at once; cancel the work of disconnected clients.",
        lambda step, _: step.share(step.failed_per_s) > 1 / 2 and _mostly(step, "timed out"),
    ),
    Symptom(
        "the limit of requests in flight: bursts are refused although workers are idle at times",
        "Raise inference.limit, if clients accept a wait of limit / workers x the time of a picture; or add workers.",
        lambda step, _: step.share(step.refused_per_s) > SAFE_REFUSED,
    ),
    Symptom(
        "memory: it grows with the load",
        "Limit the size of uploads and their number in progress; recycle workers if memory is not released.",
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
    """The bottleneck at the lowest level."""
    for step in run.steps:
        for symptom in SYMPTOMS:
            if symptom.seen(step, run.steps[0]):
                return step, symptom
    return None


def errors(runs: Sequence[Run]) -> dict[str, Counter[str]]:
    """The outcomes of each run, all levels together."""
    return {run.name: sum((Counter(step.outcomes) for step in run.steps), Counter()) for run in runs}
