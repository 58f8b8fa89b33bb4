"""The sections of a report in Markdown, each made from measurements alone."""

from collections.abc import Iterable, Iterator, Sequence

from bench.stress.compare import regressions, table
from bench.stress.knee import Knee, crossing
from bench.stress.measurements import Measurements, Run, Step, Targets
from bench.stress.specified import ANIME, HOLISTIC, Row
from bench.stress.verdict import errors, first_bottleneck, last_safe, verdicts

NONE = "-"
DISTURBED = 0.3
"""Cores used by other programs from which on the figures are unreliable."""
Cells = Iterable[str]


def rows(head: Sequence[str], body: Iterable[Cells]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def overview(of: Measurements, knee: Knee | None, before: Measurements | None) -> Iterator[str]:
    run = of.runs[0]
    peak, safe, bottleneck = run.peak(), last_safe(run, of.targets), first_bottleneck(run)
    missed = [verdict.target for verdict in verdicts(run, of.targets) if not verdict.kept]
    worse = regressions(before, of) if before else []
    where = f"{of.machine.cores} cores of {of.machine.processor}"
    yield f"{run.service}, {of.made}, {of.seconds / 60:.1f} minutes on {where}."
    yield ""
    yield f"* **Highest goodput**: {peak.goodput_per_s:.1f} answers a second, with {peak.users} users ({run.name})."
    if knee:
        yield f"* **Knee**: {knee.users:.0f} users ({knee.low:.0f} to {knee.high:.0f} with 90 % confidence)."
    yield f"* **Last safe load**: {f'{safe.users} users' if safe else 'none'}."
    first = f"{bottleneck[1].name}, at {bottleneck[0].users} users" if bottleneck else "none"
    yield f"* **First bottleneck**: {first}."
    yield f"* **Targets**: {'missed: ' + ', '.join(missed) if missed else 'all met'}."
    comparison = "; ".join(worse) or ("nothing is worse" if before else "no earlier report")
    yield f"* **Comparison with the last run**: {comparison}."
    if (others := disturbance(of)) > DISTURBED:
        yield f"* **Unreliable**: other programs used up to {others:.1f} cores during the run."
    yield from (f"* **Stopped early** ({other.name}): {other.stopped}." for other in of.runs if other.stopped)


def disturbance(of: Measurements) -> float:
    """The most cores that other programs used."""
    return max((step.usage.cpu_others for run in of.runs for step in run.steps if step.usage), default=0.0)


def targets(run: Run, asked: Targets) -> list[str]:
    found = verdicts(run, asked)
    return rows(
        ("target", "measured", "verdict"),
        [(one.target, one.measured, "pass" if one.kept else "**fail**") for one in found],
    )


def steps(run: Run) -> list[str]:
    """The table of the specifications, with separate columns for refused and failed requests."""
    head = (
        "users", "requests/s", "accepted/s", "mean ms", "P95 ms", "P99 ms", "with retries P95 ms", "refused/s",
        "refused P99 ms", "failed/s", "failed", "CPU cores", "memory MB",
    )  # fmt: skip
    return rows(head, (_step(step) for step in run.steps))


def _step(step: Step) -> Cells:
    yield str(step.users)
    yield f"{step.requests_per_s:.1f}"
    yield f"{step.goodput_per_s:.1f}"
    yield from (_wait(step, value) for value in (step.accepted.mean_ms, step.accepted.p95_ms, step.accepted.p99_ms))
    yield f"{step.answered_after.p95_ms:.0f}" if step.answered_after.count else NONE
    yield f"{step.refused_per_s:.1f}"
    yield f"{step.refused.p99_ms:.1f}" if step.refused.count else NONE
    yield f"{step.failed_per_s:.2f}"
    yield f"{step.share(step.failed_per_s):.1%}"
    yield _seen(step, "cpu", ".2f")
    yield _seen(step, "memory_bytes", ".0f", 1e6)


def _wait(step: Step, value: float) -> str:
    return f"{value:.0f}" if step.accepted.count else NONE


def resources(run: Run) -> list[str]:
    """Network, disk, connections and other resources."""
    head = (
        "users", "server CPU", "workers CPU", "load CPU", "others CPU", "loop lag ms", "most connections",
        "most descriptors", "in MB/s", "out MB/s", "to disk MB/s", "most memory MB",
    )  # fmt: skip
    return rows(head, (_resources(step) for step in run.steps))


def _resources(step: Step) -> Cells:
    yield str(step.users)
    for name in ("cpu_server", "cpu_workers", "cpu_load", "cpu_others", "loop_lag_ms"):
        yield _seen(step, name, ".2f")
    for name in ("most_connections", "most_open_files"):
        yield _seen(step, name, ".0f")
    for name in ("received_bytes_per_s", "sent_bytes_per_s", "written_bytes_per_s", "most_memory_bytes"):
        yield _seen(step, name, ".1f", 1e6)


def _seen(step: Step, name: str, form: str, unit: float = 1.0) -> str:
    return format(getattr(step.usage, name) / unit, form) if step.usage else NONE


def beside(specified: Sequence[Row], runs: Sequence[Run], cores: int) -> list[str]:
    """A specification's table, and the figures of each run for the same numbers of users."""
    head = ["users", "spec: requests/s", "mean ms", "P95 ms", "errors", "CPU"]
    for run in runs:
        head += [f"{run.name}: accepted/s", "mean ms", "P95 ms", "refused", "failed", "CPU"]
    return rows(head, (_beside(row, runs, cores) for row in specified))


def _beside(row: Row, runs: Sequence[Run], cores: int) -> Cells:
    yield str(row.users)
    yield f"{row.requests_per_s:.1f}" if row.requests_per_s else NONE
    yield f"{row.mean_ms:.0f}"
    yield f"{row.p95_ms:.0f}" if row.p95_ms else NONE
    yield f"{row.errors:.1%}"
    yield f"{row.cpu:.0%}"
    for run in runs:
        step = run.at(row.users)
        yield from _ours(step, cores) if step else [NONE] * 6


def _ours(step: Step, cores: int) -> Cells:
    yield f"{step.goodput_per_s:.1f}"
    yield from (_wait(step, value) for value in (step.accepted.mean_ms, step.accepted.p95_ms))
    yield f"{step.share(step.refused_per_s):.1%}"
    yield f"{step.share(step.failed_per_s):.1%}"
    yield _seen(step, "cpu", ".0%", cores)


def specifications(of: Measurements) -> Iterator[str]:
    thinking = [run for run in of.runs if run.think_s == (1.0, 3.0)] or of.runs[:1]
    yield "The services of the specifications queue requests, and ran on other machines with other nets: compare how"
    yield "the figures change with the number of users, not the absolute values. CPU is a share of the machine, here of"
    yield f"{of.machine.cores} cores, of which the service may use one."
    for name, table_ in (("002 (Holistic)", HOLISTIC), ("003 (AnimeGANv2)", ANIME)):
        yield from ("", f"### Specification {name}", "", *beside(table_, thinking, of.machine.cores))


def knees(run: Run, knee: Knee | None, asked: Targets) -> Iterator[str]:
    if knee is None:
        yield "Too few levels of load to fit a curve."
    else:
        yield f"The Universal Scalability Law fits `X(N) = {knee.law.a:.2f} N / (1 + {knee.law.b:.4f} (N - 1) +"
        yield f"{knee.law.c:.6f} N (N - 1))`. It reaches nine tenths of its maximum at **{knee.users:.0f} users**"
        yield f"({knee.low:.0f} to {knee.high:.0f} with 90 % confidence by bootstrap), {knee.throughput:.1f} answers/s."
    answered = [step for step in run.steps if step.accepted.count]
    if asked.most_p99_ms is not None:
        users = [step.users for step in answered]
        at = crossing(users, [step.accepted.p99_ms for step in answered], asked.most_p99_ms)
        bound = f"{asked.most_p99_ms:.0f} ms"
        yield f"P99 of accepted answers {f'passes {bound} at {at:.0f} users' if at else f'stays under {bound}'}."


def outcomes(of: Measurements) -> list[str]:
    counted = errors(of.runs)
    return rows(
        ("run", "answers and errors by type"),
        [(name, ", ".join(f"{kind}: {n}" for kind, n in counts.most_common())) for name, counts in counted.items()],
    )


def advice(of: Measurements) -> Iterator[str]:
    for run in of.runs:
        found = first_bottleneck(run)
        if found is None:
            yield f"* {run.name}: no bottleneck up to {run.steps[-1].users} users."
        else:
            yield f"* {run.name}, at {found[0].users} users: {found[1].name}. {found[1].advice}"


def starts(of: Measurements) -> list[str]:
    body = [
        (run.name, f"{run.start.launch_s:.2f}", f"{run.start.first_ms:.0f}", f"{run.start.hot_ms:.0f}")
        for run in of.runs
        if run.start
    ]
    return rows(("run", "launch to first answer, s", "first answer (cold) ms", "later ones (hot) ms"), body)


def scraped(of: Measurements) -> list[str]:
    body = [
        (
            run.name,
            run.prometheus.version,
            ", ".join(f"{status}: {count:.0f}" for status, count in sorted(run.prometheus.answers.items())),
            f"{run.prometheus.most_in_flight:.0f}",
        )
        for run in of.runs
        if run.prometheus
    ]
    if not body:
        return ["Prometheus is not installed on this machine, or the service has no metrics."]
    return rows(("run", "Prometheus", "answers, including the first seconds of each level", "most in flight"), body)


def since(of: Measurements, before: Measurements | None) -> Iterator[str]:
    if before is None:
        yield "There is no earlier report."
        return
    worse = regressions(before, of)
    yield f"Compared with {before.made}: " + ("**worse**: " + "; ".join(worse) if worse else "nothing is worse") + "."
    yield ""
    yield from table(before, of)


def configuration(of: Measurements) -> Iterator[str]:
    yield f"    {of.command}"
    yield ""
    machine = {name: str(value) for name, value in of.machine.model_dump().items()}
    yield from rows(("item", "value"), [*machine.items(), *sorted(of.versions.items())])
    yield ""
    yield from rows(("picture", "bytes"), [(picture.name, str(picture.bytes)) for picture in of.pictures])
    for run in of.runs:
        about = (
            f"preset {run.preset}, shape {run.shape}, think time {run.think_s[0]:g} to {run.think_s[1]:g} s, patience "
            f"{run.patience_s:g} s, refused clients {'honour Retry-After' if run.honours_retry_after else 'give up'}"
        )
        yield from ("", f"**{run.name}**: {run.service}; {about}. Its settings:", "")
        yield from (f"    {line}" for line in run.settings.splitlines())
