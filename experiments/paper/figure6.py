"""Figure 6: the importances ω after the initial training."""

import statistics

from scipy import stats

from experiments.pages.differences import FAILS, HOLDS, OPEN, Verdict, of_seeds
from experiments.pages.plots import COLORS, draw
from experiments.pages.results import RECORDS, markdown_table
from experiments.pages.scales import WORDS
from experiments.paper import published
from experiments.paper.sources import Sources

RUN = "c10-k2"
_SCALES = ("quarter", "paper")
_NEAR_ZERO = 0.1
# Two bands of |ω| of one width: by the start, U(-1, 1), each holds as many.
_LOW, _HIGH = (0.0, 0.4), (0.5, 0.9)
_ALPHA = 0.05
_ABOUT = f"""ω of the removable units after the initial training of the ResNet-56 of
{RUN}, at each scale pooled over the seeds on record: one model has 15 such units. The
grey band is what the start, U(-1, 1), would give; the dotted lines mark the paper's two
modes, near ±{published.MODE}.

*Two modes, not one at 0*: whether more |ω| lie between {_HIGH[0]} and {_HIGH[1]} than
between {_LOW[0]:g} and {_LOW[1]}, bands that hold equally many at the start (binomial
test, one-sided, p below {_ALPHA}; open if neither band has significantly more). One
seed decides nothing."""


def make(records=RECORDS):
    """The page and its drawing.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    found = [sources.series(RUN, scale) for scale in _SCALES]
    panels = {WORDS[series.row.scale]: pooled(series) for series in found}
    return sources.result(
        "Figure 6: importances after training",
        "figure6",
        _ABOUT,
        "![Histograms of the importances](figure6.svg)\n",
        _table(sources, found),
        figure6=draw(paint, panels, width=10.0, height=3.6),
    )


def pooled(series):
    """All ω after the initial training, of all seeds."""
    return [w for run in series.runs.values() for w in run.importances.values()]


def judged_modes(series):
    """The `Verdict` on two modes away from 0, of the runs of a `Series`."""
    verdict = two_modes(pooled(series))
    return verdict._replace(state=of_seeds(verdict.state, len(series.runs)))


def two_modes(values):
    """The `Verdict` on two modes of some values, whatever number of seeds they have."""
    if not values:
        return Verdict(OPEN, "not run")
    low, high = (
        sum(first <= abs(value) < last for value in values)
        for first, last in (_LOW, _HIGH)
    )
    reason = f"{high} values against {low}"
    if not low + high:
        return Verdict(OPEN, reason)
    more, fewer = (
        stats.binomtest(count, low + high, alternative="greater").pvalue < _ALPHA
        for count in (high, low)
    )
    below = sum(-_HIGH[1] < value <= -_HIGH[0] for value in values)
    if more and min(below, high - below) < high / 4:
        return Verdict(OPEN, f"{reason}, nearly all of one sign")
    return Verdict(HOLDS if more else FAILS if fewer else OPEN, reason)


def paint(figure, panels):
    """A histogram of ω for each scale."""
    row = figure.subplots(1, len(panels))
    for axes, (title, values) in zip(row, panels.items(), strict=True):
        axes.set_title(title, fontsize=10.5)
        _paint_histogram(axes, values)
    handles = next(filter(None, (a.get_legend_handles_labels()[0] for a in row)), None)
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=3)


def _paint_histogram(axes, values):
    axes.set_xlabel("importance ω")
    axes.set_ylabel("units")
    axes.grid(axis="x", visible=False)
    limit = max(1.2, *(0.1 * (int(10 * abs(value)) + 1) for value in values), 0)
    axes.set_xlim(-limit, limit)
    if not values:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    width = 0.1
    axes.fill_between(
        [-1, 1],
        len(values) * width / 2,  # what a bin holds of values spread over (-1, 1)
        color=COLORS["prior"],
        linewidth=0,
        label="at the start: U(-1, 1)",
    )
    count = round(limit / width)
    axes.hist(
        values,
        [width * index for index in range(-count, count + 1)],
        color=COLORS["selection"],
        edgecolor=COLORS["surface"],
        alpha=0.85,
        label="after the initial training",
    )
    for index, mode in enumerate((-published.MODE, published.MODE)):
        axes.axvline(
            mode,
            color=COLORS["initial"],
            linestyle=":",
            label=None if index else "the paper's modes",
        )
    axes.yaxis.get_major_locator().set_params(integer=True)


def _table(sources, found):
    columns = ["scale", "nets", "values", "mean", "standard deviation", "mean of |ω|"]
    columns += [f"|ω| < {_NEAR_ZERO}", "two modes, not one at 0"]
    return markdown_table(columns, [_row(sources, s, len(columns)) for s in found])


def _row(sources, series, columns):
    scale, values = WORDS[series.row.scale], pooled(series)
    if not values:
        return [scale, *sources.gap(series, columns - 1)]
    sizes = [abs(value) for value in values]
    verdict = judged_modes(series)
    near = sum(size < _NEAR_ZERO for size in sizes)
    return [
        scale,
        str(len(series.runs)),
        str(len(values)),
        f"{statistics.fmean(values):+.3f}",
        f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-",
        f"{statistics.fmean(sizes):.3f}",
        f"{100 * near / len(values):.1f} %",
        f"{verdict.state} ({verdict.reason})",
    ]
