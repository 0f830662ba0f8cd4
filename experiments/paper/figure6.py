"""Figure 6: the importances ω after the initial training."""

import json
import re
import statistics

import numpy as np
from scipy import stats

from experiments.pages.differences import FAILS, HOLDS, OPEN, Verdict, of_seeds
from experiments.pages.library import RunRecords
from experiments.pages.results import markdown_table
from experiments.pages.scales import WORDS, suffix, words
from experiments.pages.style import COLORS, captioned, draw, legend, title
from experiments.paper import published
from experiments.paper.sources import Sources

_INITIAL = "initial_values"  # folder of the records of `experiments.initial_values`
_ABOUT_INITIAL = """How much of ω after the initial training comes from its random
initial value, for which the seed was used again: Spearman's rank correlation of |ω|
after and before (mean over n models, smallest to largest), and how many values have
the sign that they were drawn with. A ranking by |ω| that depends on the initial values
ranks, in part, by chance.
"""
RUN = "c10-k2"
_SCALES = ("paper", "quarter")
RUNS = [RUN + suffix(scale) for scale in _SCALES]
_NEAR_ZERO = 0.1
# Two bands of |ω| of equal width. Under the initial U(-1, 1) they have equal counts.
_LOW, _HIGH = (0.0, 0.4), (0.5, 0.9)
NEAR_ZERO = f"|ω| < {_LOW[1]}"
NEAR_MODES = f"{_HIGH[0]} to {_HIGH[1]}"
_SHARE = 0.4
_ALPHA = 0.05
_ABOUT = f"""The importances ω of the removable units of ResNet-56 on CIFAR-10 after the
initial training of {RUN}. One model has 15 removable units; those of all seeds of one
scale are shown together.

*Two modes near ±{published.MODE}, not one at 0* holds if in every model significantly
more |ω| lie between {_HIGH[0]} and {_HIGH[1]} (*near ±{published.MODE}*) than between
{_LOW[0]:g} and {_LOW[1]} (*near 0*; one-sided binomial test, p < {_ALPHA}), at least a
quarter of them of either sign. The initial distribution puts {100 * _SHARE:.0f} % of
the values in each of these bands. The claim does not hold if in every model
significantly fewer lie in the higher band than in the lower, or than these
{100 * _SHARE:.0f} %. The latter condition was added when seed 0 at full length was
known, which has no value in either band; so that model is shown, but does not decide
once there are others. The test treats the values of one model as independent, although
they were trained together, so p may be too small. With a single model, the verdict is
*observed once* or *contradicted once*. The size of ω depends on the weight decay,
because ω can exchange its scale with the weights of its branch. The paper does not
state the decay; ours is 1e-4."""
_CAPTION = f"""Figure 6. Histogram of the importances ω (no unit) after the initial
training, bins of 0.1; n is the number of models. Grey: the expected counts of the
initial distribution U(-1, 1). Dashed lines: the two modes of the paper, near
±{published.MODE}. Source: the records listed below."""


def make(records):
    """The page and its drawing; None without records."""
    sources = Sources(records)
    if not sources.on_record(RUNS):
        return None
    found = [sources.series(RUN, scale) for scale in _SCALES]
    found = [series for series in found if pooled(series.runs)]
    panels = {
        f"{WORDS[series.row.scale]} (n = {len(series.runs)})": pooled(series.runs)
        for series in found
    }
    return sources.result(
        "Figure 6: importances after training",
        "figure6",
        _ABOUT,
        captioned("figure6.svg", _CAPTION),
        _table(found),
        *_initial(records),
        figure6=draw(paint, panels, height=3.2),
    )


def _initial(records):
    """The section that compares ω with its random initial values, if these are known.

    Args:
        records: folder of all records.
    """
    runs = {}
    for path in sorted((records / _INITIAL).glob("*.json")):
        for name, before in json.loads(path.read_text("utf-8"))["runs"].items():
            run = RunRecords.read(records / name)
            if not run.final or run.smoke:
                continue
            group = runs.setdefault((re.sub(r"-seed\d+$", "", name), run.scale), {})
            group[name] = before, run.importances
    rows = []
    for (name, scale), models in runs.items():
        # By model: an array of (before, after) for each unit.
        values = [
            np.array([(before[unit], after[unit]) for unit in after])
            for before, after in models.values()
        ]
        ranks = [float(stats.spearmanr(*abs(each).T).statistic) for each in values]
        kept = np.concatenate(values).prod(axis=1) > 0
        spread = f" ({min(ranks):+.2f} to {max(ranks):+.2f})" if len(ranks) > 1 else ""
        rows.append(
            [
                name,
                words(name, scale),
                str(len(models)),
                f"{statistics.fmean(ranks):+.2f}{spread}",
                f"{kept.sum()} of {len(kept)}",
                ", ".join(_seed_link(each) for each in models),
            ]
        )
    if not rows:
        return []
    columns = ["run", "scale", "n", "rank correlation with the initial |ω|"]
    columns += ["values with the initial sign", "seeds"]
    table = markdown_table(columns, rows)
    return [f"## Initial values\n\n{_ABOUT_INITIAL}\n{table}"]


def _seed_link(name):
    """A link to a record such as `digits/demo-seed3`, named by its seed."""
    return f"[{name.rpartition('-seed')[2]}](../../records/{name})"


def pooled(runs):
    """All ω after the initial training of some `RunRecords` by seed."""
    return [w for run in runs.values() for w in run.importances.values()]


def judged_modes(series):
    """The `Verdict` on two modes away from 0 for the runs of a `Series`."""
    runs = series.deciding(series.runs)
    reason = two_modes(pooled(runs)).reason
    if doubt := series.doubt(series.initial()):
        return Verdict(OPEN, f"{reason}; {doubt}")
    # Each model is tested alone, because its values are not independent of each other.
    states = {two_modes(run.importances.values()).state for run in runs.values()}
    state = states.pop() if len(states) == 1 else OPEN
    return Verdict(of_seeds(state, len(runs)), reason)


def in_bands(values):
    """How many values are near 0, and how many near the modes of the paper."""
    return tuple(
        sum(first <= abs(value) < last for value in values)
        for first, last in (_LOW, _HIGH)
    )


def two_modes(values):
    """The `Verdict` on two modes of some values, such as those of one model."""
    if not (values := list(values)):
        return Verdict(OPEN, "not run")
    low, high = in_bands(values)
    reason = f"{high} of {len(values)} values near ±{published.MODE}, {low} near 0"
    scarce = stats.binomtest(high, len(values), _SHARE, "less").pvalue < _ALPHA
    if scarce or _significant(low, low + high):
        return Verdict(FAILS, reason)
    if not _significant(high, low + high):
        return Verdict(OPEN, reason)
    below = sum(-_HIGH[1] < value <= -_HIGH[0] for value in values)
    if min(below, high - below) < high / 4:
        return Verdict(OPEN, f"{reason}, nearly all of one sign")
    return Verdict(HOLDS, reason)


def _significant(count, total):
    """Whether more than half of some values are of one kind."""
    if not total:
        return False
    return stats.binomtest(count, total, alternative="greater").pvalue < _ALPHA


def paint(figure, panels):
    """Draws a histogram of ω for each scale."""
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, values) in zip(row, panels.items(), strict=True):
        title(axes, name)
        _paint_histogram(axes, values)
    legend(figure, row)


def _paint_histogram(axes, values):
    axes.set_xlabel("importance ω")
    axes.set_ylabel("number of units")
    axes.grid(axis="x", visible=False)
    limit = max(1.2, *(0.1 * (int(10 * abs(value)) + 1) for value in values))
    axes.set_xlim(-limit, limit)
    width = 0.1
    axes.fill_between(
        [-1, 1],
        len(values) * width / 2,  # the expected count of a bin of values in (-1, 1)
        color=COLORS["prior"],
        linewidth=0,
        label="initially: U(-1, 1)",
    )
    count = round(limit / width)
    axes.hist(
        values,
        [width * index for index in range(-count, count + 1)],
        color=COLORS["blue"],
        edgecolor=COLORS["surface"],
        alpha=0.85,
        label="after the initial training",
    )
    for index, mode in enumerate((-published.MODE, published.MODE)):
        axes.axvline(
            mode,
            color=COLORS["black"],
            linestyle="--",
            zorder=3,
            label=None if index else "modes in the paper",
        )
    axes.yaxis.get_major_locator().set_params(integer=True)


def _table(found):
    columns = ["scale", "n", "values", "mean", "standard deviation", "mean of |ω|"]
    columns += ["smallest |ω|", "largest |ω|"]
    columns += [f"|ω| < {_NEAR_ZERO}", "two modes, not one at 0"]
    return markdown_table(columns, [_row(series) for series in found])


def _row(series):
    values = pooled(series.runs)
    sizes = [abs(value) for value in values]
    verdict = judged_modes(series)
    near = sum(size < _NEAR_ZERO for size in sizes)
    return [
        WORDS[series.row.scale],
        str(len(series.runs)),
        str(len(values)),
        f"{statistics.fmean(values):+.3f}",
        f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-",
        f"{statistics.fmean(sizes):.3f}",
        f"{min(sizes):.3f}",
        f"{max(sizes):.3f}",
        f"{100 * near / len(values):.1f} %",
        f"{verdict.state} ({verdict.reason})",
    ]
