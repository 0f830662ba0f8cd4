"""The figure of the study: accuracy against the number of removed units."""

import numpy as np

from experiments.pages.style import COLORS, DASHES, legend, line, title
from experiments.removal_study.methods import FULL, KINDS, label

_STYLES = {
    "importance": line("black", "*"),
    "output_norm": line("orange", "v", "-."),
    "block_influence": line("blue", "o"),
    "cka": line("sky", "s", DASHES),
    "taylor": line("purple", "D", hollow=True),
    "leave_one_out": line("green", "^"),
    "leave_one_out, recalibrated": line("green", "^", DASHES, hollow=True),
    "l1_importance": line("black", "x", "-."),
    # Thick and behind the other lines, which they often coincide with.
    "greedy block_influence": line("blue", linewidth=4, alpha=0.55, zorder=1.8),
    "greedy leave_one_out": line(
        "vermilion", style=(0, (1.5, 0.7)), linewidth=4, zorder=1.7
    ),
}


def paint(figure, networks):
    """Draws a row per model, with one panel without and one with recalibration."""
    grid = figure.subplots(len(networks), 2, sharey="row", squeeze=False)
    for row, network in zip(grid, networks, strict=True):
        for axes, kind in zip(row, KINDS, strict=True):
            _paint_panel(axes, network, kind)
            # Long names leave no room for both.
            title(axes, network.title if kind == KINDS[0] else kind)
        row[0].set_ylabel("test accuracy (%)")
    for axes in grid[-1]:
        axes.set_xlabel("number of units removed")
    legend(figure, grid.flat)


def _paint_random(axes, places, full, found):
    """The median of the random sets, and a band that contains 90 % of them."""
    low, middle, high = (
        [full, *(100 * np.percentile(values, share) for values in found)]
        for share in (5, 50, 95)
    )
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


def _paint_panel(axes, network, kind):
    counts = range(1, network.most + 1)
    full = 100 * network.accuracy(FULL, kind, some=True)
    places = [0, *counts]
    found = [network.random_accuracies(count, kind) for count in counts]
    if all(found):
        _paint_random(axes, places, full, found)
    for method in network.methods:
        points = [(0, full)]
        for count in counts:
            units = network.chosen(method, count, kind)
            if units is not None:
                points.append((count, 100 * network.accuracy(units, kind, some=True)))
        if len(points) == 1:
            continue
        style = {"linewidth": 1.3, "markersize": 4, **_STYLES.get(method, {})}
        axes.plot(*zip(*points, strict=True), label=label(method), **style)
    axes.set_xticks(places)
    axes.set_ylim(0, 100)
