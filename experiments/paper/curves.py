"""Accuracy against the number of layers: several series in a figure and a table."""

import typing

from experiments.pages.cells import on_split, percent
from experiments.pages.results import markdown_table
from experiments.pages.scales import WORDS
from experiments.pages.style import COLORS, DASHES
from experiments.paper.series import Series

# The initial accuracies of the scales have different line styles.
_INITIAL_LINES = {"paper": DASHES, "quarter": (0, (1, 2))}


class Curve(typing.NamedTuple):
    """One line of a figure.

    Attributes:
        label: label in the legend and the table.
        series: its `Series`: one pruning run, or one series for each point.
        style: keyword arguments of the line, from `style.line`.
        beside: the `Series` of the pruning run that the curve is a control of, which
            removes nothing itself. Each of its rounds is drawn at the number of layers
            that the pruning run had after that round.
    """

    label: str
    series: tuple
    style: dict
    beside: Series | None = None

    @property
    def seeds(self):
        """Numbers of seeds, such as `"3"`, or `"1-3"` where its points differ."""
        return _span(len(series.runs) for series in self.series if series.runs)

    def points(self, split="test"):
        """A `Summary` over seeds by number of layers, deep to shallow."""
        found = {}
        for series in self.series:
            if self.beside is not None:
                places = {r["round"]: r["layers"] for r in self.beside.all_rounds()}
                for number, layers in places.items():
                    if summary := series.summary(series.rounds(number), split):
                        found[layers] = summary
                continue
            for layers in series.layers:
                if summary := series.summary(series.at(layers), split):
                    found[layers] = summary
        return dict(sorted(found.items(), reverse=True))


def panel_title(text, curves):
    """The title of a panel with its numbers of seeds, such as `"CIFAR-10 (n = 3)"`."""
    known = [series for curve in curves for series in curve.series if series.runs]
    return f"{text} (n = {_span(len(series.runs) for series in known)})"


def seeds_of(curves):
    """The number of seeds of each curve, as text for a caption."""
    return ", ".join(f"{c.label} (n = {c.seeds})" for c in curves if c.points())


def _span(counts):
    ends = sorted(counts)
    return "-".join(map(str, dict.fromkeys([ends[0], ends[-1]])))


def paint_curves(axes, curves, layers, initial):
    """Draws curves with their standard deviations, and the initial accuracies.

    Args:
        axes: of matplotlib.
        curves: list of `Curve`. Curves without records are left out.
        layers: ticks of the axis, the deepest first.
        initial: `Summary` of the initial accuracy, or None, by scale.
    """
    drawn = [(curve, points) for curve in curves if (points := curve.points())]
    for index, (curve, points) in enumerate(drawn):
        # Curves are shifted a little, so that error bars do not overlap.
        shift = 0.25 * (index - (len(drawn) - 1) / 2)
        axes.errorbar(
            [place - shift for place in points],
            [100 * point.mean for point in points.values()],
            yerr=[100 * (point.sd or 0) for point in points.values()],
            label=curve.label,
            markersize=4.8,
            linewidth=1.4,
            elinewidth=1,
            capsize=2,
            **curve.style,
        )
    for scale, accuracy in initial.items():
        if accuracy:
            axes.axhline(
                100 * accuracy.mean,
                color=COLORS["vermilion"],
                linestyle=_INITIAL_LINES[scale],
                linewidth=1.2,
                zorder=1,
                label=f"initial, {WORDS[scale]}",
            )
    pad = 0.04 * (layers[0] - layers[-1])
    axes.set_xlim(layers[0] + pad, layers[-1] - pad)
    axes.set_xticks(layers)
    axes.set_xlabel("number of layers")


def mark_layers(axes, layers, text):
    """Draws a grey band at the number of layers that the paper reports."""
    axes.axvline(layers, color=COLORS["prior"], linewidth=7, alpha=0.7, zorder=0)
    axes.annotate(
        text,
        (layers, 1.02),
        xycoords=axes.get_xaxis_transform(),
        ha="center",
        color=COLORS["muted"],
        annotation_clip=False,
    )


def mark_accuracy(axes, accuracy):
    """Draws a line at the initial accuracy of the paper, in %."""
    axes.axhline(
        accuracy,
        color=COLORS["muted"],
        linestyle="-.",
        linewidth=1.2,
        zorder=1,
        label="initial, paper",
    )


def split_tables(curves):
    """`(split, its words, table)` of the test set, and of held-out images if known.

    Args:
        curves: list of `Curve`.
    """
    for split in ("test", "validation"):
        if split == "test" or any(curve.points(split) for curve in curves):
            yield split, on_split(split), curves_table(curves, split)


def curves_table(curves, split="test"):
    """The table of the drawn numbers, with a row for each number of layers.

    Args:
        curves: list of `Curve`. Curves without records have no column.
        split: `"validation"` or `"test"`.
    """
    found = {curve.label: points for curve in curves if (points := curve.points(split))}
    layers = sorted({place for each in found.values() for place in each}, reverse=True)
    rows = [
        [str(place), *(percent(each.get(place)) for each in found.values())]
        for place in layers
    ]
    return markdown_table(["layers", *found], rows)
