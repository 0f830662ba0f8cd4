"""The drawing of the study: accuracy against units removed."""

import numpy as np

from experiments.pages.style import COLORS, legend, title
from experiments.removal_study.methods import FULL, KINDS

_STYLES = {
    "importance": {"color": COLORS["black"], "marker": "*"},
    "output_norm": {"color": COLORS["orange"], "marker": "v"},
    "block_influence": {"color": COLORS["blue"], "marker": "o"},
    "cka": {"color": COLORS["sky"], "marker": "s"},
    "taylor": {"color": COLORS["purple"], "marker": "D"},
    "leave_one_out": {"color": COLORS["green"], "marker": "^"},
    "leave_one_out, recalibrated": {
        "color": COLORS["green"],
        "marker": "^",
        "linestyle": "--",
        "markerfacecolor": COLORS["surface"],
    },
    "l1_importance": {"color": COLORS["black"], "marker": "x", "linestyle": "-."},
    "greedy block_influence": {"color": COLORS["blue"], "linewidth": 3.2},
    "greedy leave_one_out": {
        "color": COLORS["vermilion"],
        "linewidth": 3.2,
        "linestyle": (0, (2, 0.6)),
    },
}


def paint(figure, networks):
    """A row for each network, a panel without and one with recalibration."""
    grid = figure.subplots(len(networks), 2, sharey="row", squeeze=False)
    for row, network in zip(grid, networks, strict=True):
        for axes, kind in zip(row, KINDS, strict=True):
            _paint_panel(axes, network, kind)
            title(axes, f"{network.title}, {kind}")
        row[0].set_ylabel("test accuracy (%)")
    for axes in grid[-1]:
        axes.set_xlabel("number of units removed")
    legend(figure, grid.flat)


def _paint_panel(axes, network, kind):
    counts = range(1, network.most + 1)
    full = 100 * network.accuracy(FULL, kind, some=True)
    found = [np.array(network.random_accuracies(count, kind)) for count in counts]
    low, middle, high = (
        [full, *(100 * np.percentile(values, share) for values in found)]
        for share in (5, 50, 95)
    )
    places = [0, *counts]
    axes.fill_between(
        places,
        low,
        high,
        color=COLORS["prior"],
        alpha=0.6,
        linewidth=0,
        label="random sets, 90 %",
    )
    axes.plot(
        places,
        middle,
        color=COLORS["muted"],
        linestyle=":",
        label="random sets, median",
    )
    for method in network.methods:
        points = [(0, full)]
        for count in counts:
            units = network.chosen(method, count, kind)
            if units is not None:
                points.append((count, 100 * network.accuracy(units, kind, some=True)))
        if len(points) == 1:
            continue
        style = {"linewidth": 1.3, "markersize": 4, **_STYLES.get(method, {})}
        axes.plot(*zip(*points, strict=True), label=method, **style)
    axes.set_xticks(places)
    axes.set_ylim(0, 100)
