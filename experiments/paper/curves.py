"""Accuracy against layers, deep to shallow: several series in one drawing and table."""

import typing

from experiments.pages.cells import on_split, percent
from experiments.pages.differences import summarize
from experiments.pages.plots import COLORS
from experiments.pages.results import markdown_table

_DASHES = (0, (5, 3))


class Curve(typing.NamedTuple):
    """What is drawn as one line.

    Attributes:
        label: in the legend and in the table.
        series: the `Series` behind it: one of a chain, or one for each point.
        style: how its line is drawn, by matplotlib's names.
    """

    label: str
    series: tuple
    style: dict

    def points(self, split="test"):
        """A `Summary` over seeds by number of layers, deep to shallow."""
        found = {}
        for series in self.series:
            for layers in series.layers:
                values = series.accuracies(series.at(layers), split).values()
                if values:
                    found[layers] = summarize(values)
        return dict(sorted(found.items(), reverse=True))


def line(color, marker, dashed=False, hollow=False):
    """A curve's `style`; colours by their roles in `plots.COLORS`."""
    return {
        "color": COLORS[color],
        "marker": marker,
        "linestyle": _DASHES if dashed else "-",
        "markerfacecolor": COLORS["surface" if hollow else color],
    }


def initial(series):
    """The `Summary` of a series' initial accuracies on the test set; None without."""
    return summarize(series.accuracies(series.initial()).values())


def paint_curves(axes, curves, layers, start=None):
    """Draws curves with their standard deviations, and the initial accuracy dashed.

    Args:
        axes: of matplotlib.
        curves: list of `Curve`. Those without records are left out.
        layers: numbers of layers to span, the deepest first.
        start: `Summary` of the initial accuracy, or None.

    Returns:
        Whether there was anything to draw.
    """
    drawn = [(curve, points) for curve in curves if (points := curve.points())]
    for index, (curve, points) in enumerate(drawn):
        # Curves stand a little apart, so that their bars do not cover each other.
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
    if start:
        axes.axhline(
            100 * start.mean,
            color=COLORS["initial"],
            linestyle=_DASHES,
            linewidth=1.2,
            zorder=1,
            label="initial accuracy, ours",
        )
    pad = 0.04 * (layers[0] - layers[-1])
    axes.set_xlim(layers[0] + pad, layers[-1] - pad)
    axes.set_xticks(layers)
    axes.set_xlabel("layers (deep to shallow)")
    if not drawn:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
    return bool(drawn)


def mark_layers(axes, layers, text):
    """A band at the number of layers that the paper came to."""
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
    """A dotted line at the initial accuracy of the paper, in %."""
    axes.axhline(
        accuracy,
        color=COLORS["initial"],
        linestyle=":",
        linewidth=1.2,
        zorder=1,
        label="initial accuracy, paper",
    )


def split_tables(sources, curves):
    """`(split, its words, table)` of the test set, and of held-out images if known.

    Args:
        sources, curves: as for `curves_table`.
    """
    for split in ("test", "validation"):
        if split == "test" or any(curve.points(split) for curve in curves):
            yield split, on_split(split), curves_table(sources, curves, split)


def curves_table(sources, curves, split="test"):
    """The numbers that are drawn: a row a number of layers, a column a curve.

    Args:
        sources: `Sources`, for what is not run.
        curves: list of `Curve`.
        split: `"validation"` or `"test"`.
    """
    points = [curve.points(split) for curve in curves]
    layers = sorted({place for each in points for place in each}, reverse=True)
    rows = [
        [str(place), *(percent(each.get(place)) for each in points)] for place in layers
    ]
    gaps = [
        ", ".join(sources.cell(series) for series in curve.series if not series.runs)
        for curve in curves
    ]
    if any(gaps):
        rows.append(["not run", *(gap or "-" for gap in gaps)])
    return markdown_table(["layers", *(curve.label for curve in curves)], rows)
