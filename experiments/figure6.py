"""Figure 6: the importances ω after the initial training."""

import statistics

from scipy import stats

from experiments import paper
from experiments.differences import FAILS, HOLDS, OPEN, Verdict
from experiments.plots import COLORS, draw
from experiments.results import RECORDS, markdown_table
from experiments.sources import Sources

RUN = "c10-main"
_NEAR_ZERO = 0.1
# Two bands of |ω| of one width: by the start, U(-1, 1), each holds as many.
_LOW, _HIGH = (0.0, 0.4), (0.5, 0.9)
_ALPHA = 0.05
_ABOUT = f"""ω of the units that may go, after the initial training of the CIFAR-10 net,
pooled over the seeds on record: one net has 15. The grey band is what the start,
U(-1, 1), would give; the dotted lines mark the paper's two modes, near ±{paper.MODE}.

*Two modes, not one at 0*: whether more |ω| lie between {_HIGH[0]} and {_HIGH[1]} than
between {_LOW[0]:g} and {_LOW[1]}, bands that hold equally many at the start (binomial
test, one-sided, p below {_ALPHA}; open if neither band has significantly more)."""


def make(records=RECORDS):
    """The page and its drawing.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    series = sources.series(RUN)
    values = pooled(series)
    table = _table(sources, series, values)
    text = "![Histogram of the importances](figure6.svg)\n"
    return sources.result(
        "Figure 6: importances after training",
        "figure6",
        _ABOUT,
        text,
        table,
        figure6=draw(paint, values, height=3.6),
    )


def pooled(series):
    """All ω after the initial training, of all seeds."""
    return [w for run in series.runs.values() for w in run.importances.values()]


def two_modes(values):
    """The `Verdict` on two modes away from 0."""
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


def paint(figure, values):
    """Histogram of ω."""
    axes = figure.subplots()
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
    for index, mode in enumerate((-paper.MODE, paper.MODE)):
        axes.axvline(
            mode,
            color=COLORS["initial"],
            linestyle=":",
            label=None if index else "the paper's modes",
        )
    axes.yaxis.get_major_locator().set_params(integer=True)
    handles = axes.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)


def _table(sources, series, values):
    columns = ["nets", "values", "mean", "standard deviation", "mean of |ω|"]
    columns += [f"|ω| < {_NEAR_ZERO}", "two modes, not one at 0"]
    if not values:
        return markdown_table(columns, [sources.gap(series, len(columns))])
    sizes = [abs(value) for value in values]
    verdict = two_modes(values)
    near = sum(size < _NEAR_ZERO for size in sizes)
    row = [
        str(len(series.runs)),
        str(len(values)),
        f"{statistics.fmean(values):+.3f}",
        f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-",
        f"{statistics.fmean(sizes):.3f}",
        f"{100 * near / len(values):.1f} %",
        f"{verdict.state} ({verdict.reason})",
    ]
    return markdown_table(columns, [row])
