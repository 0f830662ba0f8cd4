"""The plots of a run's report, as SVG.

A plot is drawn with fixed light colours; `inline` turns these into the CSS variables
of the page, which lets one drawing follow light and dark mode. Nothing here depends on
the clock or on the user's matplotlib settings: the same records give the same bytes.
"""

import collections
import html
import io
import itertools
import math
import re

from experiments.pages.run_records import group_units, wilson

# One colour a role. The page defines `--plot-<role>` for each, in light and dark.
COLORS = {
    "surface": "#ffffff",
    "ink": "#24272c",
    "muted": "#6c7078",
    "grid": "#e6e4de",
    "band": "#f4f2ed",
    "prior": "#d9d6cd",
    "selection": "#2456a6",
    "test": "#b3610b",
    "initial": "#c22f2f",
}
WIDTHS = {"wide": 7.6, "narrow": 4.0}  # inches: a desktop column, a phone
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLORS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": COLORS["surface"],
    "font.size": 9.5,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0.2,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.3,  # thousands of epochs: a third of the file
    "svg.fonttype": "none",
    "svg.hashsalt": "resprune",  # ids of clip paths come from it, not from the clock
    "text.color": COLORS["ink"],
    "text.parse_math": False,  # names of units may hold a dollar sign
    "xtick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.color": COLORS["muted"],
    "ytick.labelcolor": COLORS["ink"],
}


def draw(paint, run, width=WIDTHS["wide"], height=3.4):
    """Calls `paint(figure, run)` on a new figure and returns it as SVG text."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure, run)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    return text.getvalue()


def inline(svg, prefix, label):
    """SVG text made fit for an HTML page: own ids, the page's colours, any width."""
    view_box = re.search(r'viewBox="[^"]*"', svg)[0]
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    # Several drawings share the ids of one page.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    for role, color in COLORS.items():
        svg = svg.replace(color, f"var(--plot-{role})")
    return f'<svg role="img" aria-label="{html.escape(label)}" {view_box}>{svg}'


def paint_accuracy(figure, run):
    """Accuracy against layers, deep to shallow, with 95 % intervals."""
    axes = figure.subplots()
    layers = sorted({r["layers"] for r in run.rounds}, reverse=True)
    # Two splits stand a little apart, so that their bars do not cover each other.
    gap = min((a - b for a, b in itertools.pairwise(layers)), default=1)
    span = max(layers[0] - layers[-1], 1)
    dodge = min(0.08 * gap, 0.01 * span) * (len(run.splits) - 1)
    scale = 100 if run.in_percent else 1
    if run.initial is not None:
        axes.axhline(
            scale * run.initial,
            color=COLORS["initial"],
            linestyle=(0, (5, 3)),
            linewidth=1.2,
            label=f"initial {run.split} {run.monitor}",
        )
    for index, split in enumerate(run.splits):
        points = [(r["layers"], run.watched(r, split)) for r in run.rounds]
        points = [(x + dodge * (1 - 2 * index), y) for x, y in points if y is not None]
        if not points:
            continue
        style = {
            "color": COLORS["selection" if index == 0 else "test"],
            "zorder": 4 - index,
        }
        x, y = zip(*points, strict=True)
        if run.examples(split) and run.in_percent:
            ends = [[100 * v for v in wilson(a, run.examples(split))] for a in y]
            axes.vlines(x, *zip(*ends, strict=True), linewidth=3.2, alpha=0.28, **style)
        y = [scale * a for a in y]
        axes.plot(x, y, marker="os"[index], markersize=4.8, label=split, **style)
    if run.selected:
        place = run.selected["layers"]
        axes.axvline(place, color=COLORS["prior"], linewidth=9, alpha=0.6, zorder=0)
        axes.annotate(
            f"selected: {place} layers",
            (place, 1.02),
            xycoords=axes.get_xaxis_transform(),
            ha="center",
            annotation_clip=False,
        )
    every = math.ceil(len(layers) / (2.6 * figure.get_figwidth()))
    axes.set_xticks(layers[::every])
    pad = 0.05 * (layers[0] - layers[-1]) or 1
    axes.set_xlim(layers[0] + pad, layers[-1] - pad)
    axes.set_xlabel("layers (deep to shallow)")
    axes.set_ylabel(run.label)
    _legend(figure, 3, axes)


def paint_importances(figure, run):
    """Histogram of ω after round 0, and each ω as a point in the row of its stage."""
    groups = group_units(run.importances)
    lost = {u for u, number in run.removals.items() if number <= run.net["round"]}
    histogram, points = figure.subplots(
        2, 1, sharex=True, height_ratios=[4, 0.9 + 0.45 * len(groups)]
    )
    values = list(run.importances.values())
    width = 0.1 if len(values) > 40 else 0.2
    count = math.ceil(max(1.0, *map(abs, values)) / width - 1e-9)
    limit = count * width
    histogram.fill_between(
        [-1, 1],
        len(values) * width / 2,  # what a bin holds of values spread over (-1, 1)
        color=COLORS["prior"],
        linewidth=0,
        label="at the start: U(-1, 1)",
    )
    histogram.hist(
        values,
        [index * width for index in range(-count, count + 1)],
        color=COLORS["selection"],
        edgecolor=COLORS["surface"],
        alpha=0.85,
        label="after round 0",
    )
    histogram.yaxis.get_major_locator().set_params(integer=True)
    histogram.set_ylabel("units")
    histogram.grid(axis="x", visible=False)
    for removed in (False, True):
        places = [
            (run.importances[name], row)
            for row, members in enumerate(groups.values())
            for name, _ in members
            if (name in lost) == removed
        ]
        points.plot(
            *zip(*places, strict=True) if places else ([], []),
            linestyle="none",
            marker="o",
            markersize=6,
            color=COLORS["selection"],
            markerfacecolor=COLORS["surface" if removed else "selection"],
            label="removed" if removed else "kept",
            clip_on=False,
        )
    points.axvline(0, color=COLORS["muted"], linewidth=0.8, zorder=0)
    points.set_yticks(range(len(groups)), groups)
    points.set_ylim(len(groups) - 0.4, -0.6)
    points.tick_params(axis="y", length=0)
    points.spines["left"].set_visible(False)
    points.set_xlabel("importance ω")
    points.set_xlim(-1.02 * limit, 1.02 * limit)
    _legend(figure, 4, histogram, points)


def paint_training(figure, run):
    """Training loss and accuracy over all epochs; bands are rounds."""
    panels = loss, accuracy = figure.subplots(2, 1, sharex=True)
    measured = {r["round"]: run.watched(r) for r in run.rounds}
    scale = 100 if run.in_percent else 1
    lengths = collections.Counter(epoch["round"] for epoch in run.history)
    every = math.ceil(len(lengths) / (3.2 * figure.get_figwidth()))
    part = run.history[0]["epoch"]  # 1, or less where epochs are divided
    end, dots = 0, []
    for index, (number, length) in enumerate(lengths.items()):
        start, end = end, end + length * part
        if index % 2 == 0:
            for axes in panels:
                axes.axvspan(start, end, color=COLORS["band"], linewidth=0, zorder=0)
        if index % every == 0:
            loss.annotate(
                f"round {number}" if index == 0 else f"{number}",
                ((start + end) / 2, 1.04),
                xycoords=loss.get_xaxis_transform(),
                ha="center",
                fontsize=8.5,
                color=COLORS["muted"],
                annotation_clip=False,
            )
        if measured.get(number) is not None:
            dots.append((end, scale * measured[number]))
    for axes, key, by in ((loss, "loss", 1), (accuracy, run.monitor, scale)):
        y = [math.nan if e.get(key) is None else by * e[key] for e in run.history]
        x = [part * number for number in range(1, len(y) + 1)]
        axes.plot(x, y, color=COLORS["ink"], linewidth=1, label="training")
        axes.grid(axis="x", visible=False)
    if dots:
        accuracy.plot(
            *zip(*dots, strict=True),
            linestyle="none",
            marker="o",
            markersize=4.8,
            color=COLORS["selection"],
            label=f"{run.split}, at the end of a round",
            clip_on=False,
        )
    loss.set_ylabel("training loss")
    accuracy.set_ylabel(run.label)
    accuracy.set_xlabel("epochs of all rounds")
    accuracy.set_xlim(0, end)
    accuracy.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, 2, accuracy)


def _legend(figure, columns, *axes):
    handles = [handle for ax in axes for handle in ax.get_legend_handles_labels()[0]]
    columns = columns if figure.get_figwidth() > 5 else 2
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)
