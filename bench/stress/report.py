"""Writes a report: report.md with its plots as files, and report.html, a single file with everything.

    python -m bench.stress.report bench/reports/2026-01-31T12-00-00

writes the report again from its measurements.json.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown import markdown

from bench.stress import plots, sections
from bench.stress.knee import Knee, find_knee
from bench.stress.measurements import Measurements, read

PAGE, TEXT = "report.html", "report.md"
_IMAGE = re.compile(r'<img alt="[^"]*" src="([\w-]+)\.svg" ?/?>')
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { border: 1px solid #ddd; padding: .25rem .6rem; text-align: right } th { background: #f5f5f5 }
th:first-child, td:first-child { text-align: left } svg { max-width: 100%; height: auto }
code, pre { background: #f5f5f5 } pre { padding: .6rem; overflow-x: auto }
"""


@dataclass(frozen=True)
class Plot:
    """A drawing with the name of its file and its title."""

    name: str
    title: str
    draw: plots.Draw


def knee_of(of: Measurements) -> tuple[int, Knee | None]:
    """The run with the highest load, which shows the knee best, and its knee; None if there are too few levels."""
    ours = [run for run in of.runs if run.service == of.runs[0].service and not run.honours_retry_after]
    run = max(ours or of.runs, key=lambda run: run.steps[-1].requests_per_s)
    try:
        return of.runs.index(run), find_knee(
            [step.users for step in run.steps], [step.goodput_per_s for step in run.steps]
        )
    except ValueError:
        return of.runs.index(run), None


def compose(of: Measurements, before: Measurements | None) -> Iterator[str | Plot]:
    """The report, a line or a plot at a time."""
    index, knee = knee_of(of)
    bent = of.runs[index]
    yield from ("# Stress test", "", *sections.overview(of, knee, before), "")
    yield Plot("goodput", "Accepted answers a second against users", plots.goodput(of.runs))
    yield from _section("Targets", sections.targets(of.runs[0], of.targets))
    for number, run in enumerate(of.runs):
        yield from _section(f"Run: {run.name}", [*_stopped(run.stopped), *sections.steps(run)])
        yield Plot(f"kinds-{number}", f"Outcomes of the requests: {run.name}", plots.kinds(run))
    yield from _section("Comparison with the specifications", sections.specifications(of))
    yield from _section(f"The knee ({bent.name})", sections.knees(bent, knee, of.targets))
    if knee:
        yield Plot("knee", "The fitted curve and the knee", plots.law(bent, knee))
    yield from _section("Throughput against latency", ["Each point is a number of users."])
    yield Plot("latency", "P99 of accepted answers against accepted answers a second", plots.latency(of.runs))
    yield from _section("Errors by type", sections.outcomes(of))
    yield from _section("First bottleneck", sections.advice(of))
    for run in of.runs:
        yield from _section(f"CPU, network, disk, connections: {run.name}", sections.resources(run))
    yield from _section("Cold and hot start", sections.starts(of))
    yield from _section("Prometheus", sections.scraped(of))
    yield from _section("Comparison with the last run", sections.since(of, before))
    yield from _section("Configuration and versions", sections.configuration(of))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "", *lines, "")


def _stopped(stopped: str | None) -> list[str]:
    return [f"**Stopped early**: {stopped}.", ""] if stopped else []


def write(of: Measurements, folder: Path, before: Measurements | None = None) -> Path:
    """Write the report into the folder. Return the path of the HTML file."""
    parts = list(compose(of, before))
    text = "\n".join(f"\n![{part.title}]({part.name}.svg)\n" if isinstance(part, Plot) else part for part in parts)
    drawn = {part.name: plots.svg(part.draw) for part in parts if isinstance(part, Plot)}
    for name, picture in drawn.items():
        (folder / f"{name}.svg").write_text(picture)
    (folder / TEXT).write_text(f"{text}\n")
    body = _IMAGE.sub(lambda image: drawn[image[1]], markdown(text, extensions=["tables"]))
    page = folder / PAGE
    head = f'<meta charset="utf-8"><title>Stress test {of.made}</title><style>{_STYLE}</style>'
    page.write_text(f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.report")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    earlier = [other for other in folder.parent.iterdir() if other.name < folder.name]
    last = max((other for other in earlier if (other / "measurements.json").exists()), default=None)
    print(write(read(folder), folder, read(last) if last else None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
