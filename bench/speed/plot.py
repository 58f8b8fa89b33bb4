"""Plots the results of `bench.scaling` as one figure of four panels.

python -m bench.plot scaling.json [--output bench/plots/scaling.png]
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bench.support.served import ROOT
from faceattr_aio.config.schema import Config

PLOT = ROOT / "bench" / "plots" / "scaling.png"
GOODPUT, CEILING, GREY = "#0b62a4", "#c8590b", "#666666"
ENOUGH = 0.75
"""Share of the working side that a reduced JPEG must keep."""
Rows = Sequence[Mapping[str, float]]


def draw(document: Mapping[str, Any]) -> Figure:
    """Draw the figure from a document that `bench.scaling` wrote."""
    figure = Figure(figsize=(10, 7.2), dpi=100, layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12))
    size, faces, workers, processes = figure.subplots(2, 2).flat
    panels = document["panels"]
    _draw_sizes(_panel(size, "Size of the picture", "megapixels, one face"), panels["megapixels"])
    _draw_faces(_panel(faces, "Faces in the picture", "faces in 1 megapixel"), panels["faces"])
    _draw_workers(_panel(workers, "Workers", "worker processes"), panels["workers"], document["cores"])
    _draw_processes(_panel(processes, "Serving processes", "processes, two workers in total"), panels["processes"])
    return figure


def _panel(axes: Axes, title: str, unit: str) -> Axes:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel(unit)
    axes.set_ylabel("pictures/s")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    return axes


def _draw_lines(axes: Axes, rows: Rows) -> None:
    at = [row["value"] for row in rows]
    for figure, colour in (("ceiling", CEILING), ("goodput", GOODPUT)):
        axes.plot(at, [row[figure] for row in rows], "o-", color=colour, markersize=5, linewidth=2)
    axes.set_ylim(0, 1.15 * max(max(row["ceiling"], row["goodput"]) for row in rows))


def _name(axes: Axes, row: Mapping[str, float], figure: str, right: int, up: int) -> None:
    """Label a line at one of its points, `right` and `up` points away from it."""
    text, colour = ("pipeline alone", CEILING) if figure == "ceiling" else ("behind HTTP", GOODPUT)
    sides = ("right", "center", "left")[(right > 0) - (right < 0) + 1], "bottom" if up > 0 else "top"
    place = row["value"], row[figure]
    axes.annotate(text, place, (right, up), textcoords="offset points", color=colour, ha=sides[0], va=sides[1])


def _draw_sizes(axes: Axes, rows: Rows) -> None:
    axes.set_xscale("log")
    _draw_lines(axes, rows)
    _name(axes, rows[0], "ceiling", 7, 2)
    _name(axes, rows[1], "goodput", 0, -8)
    for by in (2, 4, 8):
        width = by * ENOUGH * Config().image.working_side
        _mark(axes, width * width * 3 / 4 / 1e6, f"decoded\nat 1/{by}")
    ticks = [0.3, 1, 3, 10, 30]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _mark(axes: Axes, at: float, text: str) -> None:
    axes.axvline(at, color=GREY, linestyle=":", linewidth=1)
    axes.annotate(
        text, (at, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points", color=GREY, va="top"
    )


def _draw_faces(axes: Axes, rows: Rows) -> None:
    _draw_lines(axes, rows)
    _name(axes, rows[2], "ceiling", 8, 4)
    _name(axes, rows[3], "goodput", -6, -6)
    each, none = linear_regression([row["value"] for row in rows], [1e3 / row["ceiling"] for row in rows])
    text = f"alone: {none:.0f} ms for a picture\nplus {each:.1f} ms for each face"
    axes.annotate(text, (0.98, 0.75), xycoords="axes fraction", color=GREY, ha="right")


def _draw_workers(axes: Axes, rows: Rows, cores: int) -> None:
    _draw_lines(axes, rows)
    _name(axes, rows[-1], "ceiling", 0, 8)
    _name(axes, rows[-1], "goodput", 0, -8)
    _mark(axes, cores, f"{cores} cores")
    axes.set_xticks([row["value"] for row in rows])


def _draw_processes(axes: Axes, rows: Rows) -> None:
    at = [row["value"] for row in rows]
    bars = axes.bar(at, [row["goodput"] for row in rows], 0.5, color=GOODPUT)
    axes.bar_label(bars, fmt="%.0f\nbehind HTTP", label_type="center", color="white")
    for row in rows:
        place = row["value"], row["ceiling"]
        axes.errorbar(*place, xerr=0.25, color=CEILING, linewidth=3)
        axes.annotate(
            f"{row['ceiling']:.0f} alone", place, (0, 5), textcoords="offset points", color=CEILING, ha="center"
        )
    axes.set_xticks(at)
    axes.set_xlim(0.4, len(at) + 0.6)
    axes.set_ylim(0, 1.15 * max(max(row["ceiling"], row["goodput"]) for row in rows))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.plot")
    parser.add_argument("measured", type=Path)
    parser.add_argument("--output", type=Path, default=PLOT)
    chosen = parser.parse_args(arguments)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    draw(json.loads(chosen.measured.read_text())).savefig(chosen.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
