"""The content of the plots of a report."""

import collections
import math

from resprune_tf.report.drawing import COLORS
from resprune_tf.report.run_records import magnitude, wilson


def paint_tradeoff(figure, run):
    """Draws the monitored metric against MACs, and against latency if measured.

    Args:
        figure: an empty matplotlib figure.
        run: a `RunRecords` with a finished round.
    """
    power, letter = magnitude(run.rounds[0]["macs"])
    costs = {
        f"MACs per example{letter and f', {letter}'}": lambda r: r["macs"] / power,
        "measured latency, ms": run.latency,
    }
    if not has_latencies(run):
        del costs["measured latency, ms"]
    wide = is_wide(figure)
    shape = (1, len(costs)) if wide else (len(costs), 1)
    panels = figure.subplots(*shape, squeeze=False).flat
    for axes, (label, cost) in zip(panels, costs.items(), strict=True):
        _paint_tradeoff(axes, run, cost)
        axes.set_xlabel(label)
        axes.set_ylabel(run.label)
    _legend(figure, 4, figure.axes[0])


def has_latencies(run):
    """Whether the latencies of at least two models were measured."""
    return sum(run.latency(r) is not None for r in run.rounds) > 1


def is_wide(figure):
    """Whether a figure is drawn for a wide screen."""
    return figure.get_figwidth() > 5


def _paint_tradeoff(axes, run, cost):
    """Draws a point per round, with 95 % intervals of accuracies.

    Args:
        axes: matplotlib axes.
        run: a `RunRecords`.
        cost: function from the record of a round to its cost, or None.
    """
    scale = 100 if run.in_percent else 1
    if run.initial is not None:
        axes.axhline(
            scale * run.initial,
            color=COLORS["initial"],
            linestyle=(0, (5, 3)),
            linewidth=1.2,
            label=f"initial {run.split} {run.monitor}",
        )
    costs = [cost(r) for r in run.rounds if cost(r) is not None]
    # Two splits are drawn side by side, so that their intervals do not overlap.
    dodge = 0.004 * (max(costs) - min(costs)) * (len(run.splits) - 1)
    for index, split in enumerate(run.splits):
        points = [
            (cost(r) + dodge * (2 * index - 1), run.monitored(r, split))
            for r in run.rounds
            if cost(r) is not None and run.monitored(r, split) is not None
        ]
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
    chosen = run.selected
    if chosen and cost(chosen) is not None and run.monitored(chosen) is not None:
        axes.plot(
            [cost(chosen) - dodge],
            [scale * run.monitored(chosen)],
            linestyle="none",
            marker="o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=COLORS["ink"],
            markeredgewidth=1.4,
            zorder=5,
            label=f"selected: round {chosen['round']}",
        )
    axes.margins(x=0.06)


def paint_training(figure, run):
    """Draws training loss and monitored metric over all epochs; bands are rounds.

    Args:
        figure: an empty matplotlib figure.
        run: a `RunRecords` with a history.
    """
    panels = loss, metric = figure.subplots(2, 1, sharex=True)
    measured = {r["round"]: run.monitored(r) for r in run.rounds}
    scale = 100 if run.in_percent else 1
    lengths = collections.Counter(epoch["round"] for epoch in run.history)
    every = math.ceil(len(lengths) / (3.2 * figure.get_figwidth()))
    part = run.history[0]["epoch"]  # less than 1 if epochs are divided into parts
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
    for axes, key, factor in ((loss, "loss", 1), (metric, run.monitor, scale)):
        y = [math.nan if e.get(key) is None else factor * e[key] for e in run.history]
        x = [part * number for number in range(1, len(y) + 1)]
        axes.plot(x, y, color=COLORS["ink"], linewidth=1, label="training")
        axes.grid(axis="x", visible=False)
    if dots:
        metric.plot(
            *zip(*dots, strict=True),
            linestyle="none",
            marker="o",
            markersize=4.8,
            color=COLORS["selection"],
            label=f"{run.split}, at the end of a round",
            clip_on=False,
        )
    loss.set_ylabel("training loss")
    metric.set_ylabel(run.label)
    metric.set_xlabel("epochs of all rounds")
    metric.set_xlim(0, end)
    metric.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, 2, metric)


def _legend(figure, columns, *axes):
    handles = [handle for ax in axes for handle in ax.get_legend_handles_labels()[0]]
    columns = columns if is_wide(figure) else 2
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)
