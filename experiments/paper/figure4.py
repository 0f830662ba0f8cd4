"""Figure 4: epochs of retraining, and units removed at once."""

from experiments.pages.plots import COLORS, draw
from experiments.pages.results import RECORDS
from experiments.paper import published
from experiments.paper.curves import (
    Curve,
    initial,
    line,
    mark_accuracy,
    mark_layers,
    paint_curves,
    split_tables,
)
from experiments.paper.sources import Sources

_ABOUT = """CIFAR-10, at each scale from the same initial nets: accuracy on the
test set against the number of layers, means over seeds, bars of one standard deviation.

- (a) one unit a round, retrained for 30, 60 or 120 epochs.
- (b) 60 epochs a round, k = 1, 2 or 4 units removed in each; k = 2 also at a quarter of
  these epochs, from initial nets of its own. The dashed line is the initial accuracy at
  the paper's epochs.
- The marks are what the paper's text gives: its initial accuracy, {layers} layers as
  the smallest net that kept it with k = 2 (as with k = 1 in its Table 1), and
  {accuracy} % at {at} layers with k = 4."""
_RETRAIN = {
    "c10-retrain30": ("30 epochs", line("test", "^")),
    "c10-main": ("60 epochs", line("ink", "o")),
    "c10-retrain120": ("120 epochs", line("selection", "s")),
}
_UNITS = {
    "c10-main": ("k = 1", line("ink", "o")),
    "c10-k2": ("k = 2", line("selection", "D")),
    "c10-k2-quarter": (
        "k = 2, 1/4 of the epochs",
        line("selection", "D", dashed=True, hollow=True),
    ),
    "c10-k4": ("k = 4", line("test", "v")),
}
_TICKS = (56, 53, 50, 47, 44, 41, 38, 35, 32)


def make(records=RECORDS):
    """The page and its drawing.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    begin = initial(sources.series("c10-k2"))
    panels = {
        "(a) epochs of retraining": _curves(sources, _RETRAIN),
        "(b) units removed at once": _curves(sources, _UNITS),
    }
    parts = [
        "![Accuracy against layers, the numbers of the tables below](figure4.svg)\n"
    ]
    for title, curves in panels.items():
        for _, words, table in split_tables(sources, curves):
            parts.append(f"## {title}, {words}\n\n{table}")
    at, accuracy = published.BY_FOUR
    return sources.result(
        "Figure 4: epochs of retraining, units at once",
        "figure4",
        _ABOUT.format(layers=published.SMALLEST_BY_TWO, accuracy=accuracy, at=at),
        *parts,
        figure4=draw(paint, (panels, begin), width=9.0, height=4.2),
    )


def _curves(sources, runs):
    return [
        Curve(label, (sources.series(run),), style)
        for run, (label, style) in runs.items()
    ]


def paint(figure, content):
    """Two panels, (a) and (b), of one scale."""
    panels, begin = content
    row = figure.subplots(1, len(panels), sharey=True)
    for axes, (title, curves) in zip(row, panels.items(), strict=True):
        axes.set_title(title, pad=20, fontsize=10.5)
        if paint_curves(axes, curves, _TICKS, begin):
            mark_accuracy(axes, published.INITIAL_ACCURACY["cifar10"])
    mark_layers(row[1], published.SMALLEST_BY_TWO, "paper, k = 2")
    if row[1].get_legend_handles_labels()[0]:
        row[1].plot(
            *published.BY_FOUR,
            linestyle="none",
            marker="*",
            markersize=11,
            color=COLORS["test"],
            markeredgecolor=COLORS["ink"],
            zorder=5,
            label="paper, k = 4",
        )
    row[0].set_ylabel("test accuracy, %")
    for axes in row:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best")  # where it covers least
