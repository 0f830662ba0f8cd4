"""The drawing of the study: accuracy against units removed."""

import numpy as np

from experiments.pages.plots import COLORS
from experiments.removal_study.methods import FULL, KINDS

# Colours that are told apart with any kind of colour vision (Okabe and Ito, 2008).
_STYLES = {
    "importance": {"color": "#000000", "marker": "*"},
    "output_norm": {"color": "#e69f00", "marker": "v"},
    "block_influence": {"color": "#0072b2", "marker": "o"},
    "cka": {"color": "#56b4e9", "marker": "s"},
    "taylor": {"color": "#cc79a7", "marker": "D"},
    "leave_one_out": {"color": "#009e73", "marker": "^"},
    "leave_one_out, recalibrated": {
        "color": "#009e73",
        "marker": "^",
        "linestyle": "--",
        "markerfacecolor": "white",
    },
    "l1_importance": {"color": "#8c6d1f", "marker": "x"},
    "greedy block_influence": {"color": "#0072b2", "linewidth": 3.2, "marker": ""},
    "greedy leave_one_out": {"color": "#d55e00", "linewidth": 3.2, "marker": ""},
}


def paint(figure, networks):
    """A row for each network, a panel without and one with recalibration."""
    grid = figure.subplots(max(1, len(networks)), 2, sharey="row", squeeze=False)
    for row, network in zip(grid, networks, strict=bool(networks)):
        for axes, kind in zip(row, KINDS, strict=True):
            _paint_panel(axes, network, kind)
            axes.set_title(f"{network.title}, {kind}", fontsize=10.5)
        row[0].set_ylabel("test accuracy, %")
    for axes in grid[-1]:
        axes.set_xlabel("units removed")
    handles = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper left", ncols=4
        )


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
