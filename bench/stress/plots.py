"""Draws runs: goodput against users, throughput against latency, and the fitted law."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.stress.knee import Knee
from bench.stress.measurements import Run

mpl.rcParams["svg.fonttype"] = "none"
mpl.rcParams["svg.hashsalt"] = "stress"
COLOURS = ("#1769aa", "#c62828", "#2e7d32", "#8e24aa", "#ef6c00")
KINDS = {"goodput": "#2e7d32", "rejected": "#90a4ae", "refused": "#f9a825", "failed": "#c62828"}
SIZE = (7.2, 4.2)
Draw = Callable[[Axes], None]


def svg(draw: Draw) -> str:
    """An <svg> element for an HTML page."""
    out = BytesIO()
    _figure(draw).savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue().decode()
    return text[text.index("<svg") :]


def save(draw: Draw, file: Path) -> None:
    """Save in the format of the file's suffix."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _figure(draw).savefig(file, dpi=110)


def _figure(draw: Draw) -> Figure:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    return figure


def goodput(runs: Sequence[Run]) -> Draw:
    """Accepted answers a second against users: the curve of a collapsed service falls to zero."""

    def draw(axes: Axes) -> None:
        for run, colour in zip(runs, COLOURS, strict=False):
            users = [step.users for step in run.steps]
            axes.plot(users, [step.goodput_per_s for step in run.steps], "o-", color=colour, label=run.name)
        axes.set(xlabel="users", ylabel="accepted answers/s", xlim=(0, None), ylim=(0, None))
        axes.legend(frameon=False)

    return draw


def latency(runs: Sequence[Run]) -> Draw:
    """P99 of accepted answers against accepted answers a second, with a point for each number of users."""

    def draw(axes: Axes) -> None:
        for run, colour in zip(runs, COLOURS, strict=False):
            steps = [step for step in run.steps if step.accepted.count]
            rates, waits = [step.goodput_per_s for step in steps], [step.accepted.p99_ms for step in steps]
            axes.plot(rates, waits, "o-", color=colour, label=run.name)
            for step in steps:
                axes.annotate(
                    str(step.users), (step.goodput_per_s, step.accepted.p99_ms), fontsize=7, xytext=(4, 3),
                    textcoords="offset points",
                )  # fmt: skip
        axes.set(xlabel="accepted answers/s", ylabel="P99 of accepted answers, ms", xlim=(0, None), yscale="log")
        axes.legend(frameon=False)

    return draw


def law(run: Run, knee: Knee) -> Draw:
    """The measured points, the fitted curve, and the knee with its interval."""

    def draw(axes: Axes) -> None:
        users = [step.users for step in run.steps]
        axes.plot(users, [step.goodput_per_s for step in run.steps], "o", color=COLOURS[0], label="measured")
        curve = np.linspace(1, max(users), 200)
        axes.plot(curve, knee.law(curve), color=COLOURS[1], label="Universal Scalability Law")
        axes.axvspan(knee.low, knee.high, color=COLOURS[2], alpha=0.15)
        axes.axvline(knee.users, color=COLOURS[2], label=f"knee: {knee.users:.0f} users")
        axes.set(xlabel="users", ylabel="accepted answers/s", xlim=(0, None), ylim=(0, None))
        axes.legend(frameon=False)

    return draw


def kinds(run: Run) -> Draw:
    """Outcomes of the requests of each level."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(run.steps))
        bottom = np.zeros(len(run.steps))
        for kind, colour in KINDS.items():
            heights = np.array([getattr(step, f"{kind}_per_s") for step in run.steps])
            axes.bar(places, heights, bottom=bottom, label=kind, color=colour)
            bottom += heights
        axes.set_xticks(places, [str(step.users) for step in run.steps])
        axes.set(xlabel="users", ylabel="requests/s")
        axes.legend(frameon=False)

    return draw
