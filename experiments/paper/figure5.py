"""Figure 5: is a small |ω| the sign of a unit that adds little?"""

import json
import statistics
import typing

from scipy import stats

from experiments.pages.differences import FAILS, HOLDS, OPEN, Verdict, of_seeds
from experiments.pages.plots import COLORS, draw
from experiments.pages.results import RECORDS, markdown_table
from experiments.pages.scales import WORDS
from experiments.paper.sources import Sources

RUN = "c10-k2"
_SCALES = ("quarter", "paper")
_FILE = "unit_norms.json"
_ALPHA = 0.05
# What is held against |ω|, by its key in the records.
_NORMS = {
    "scaled": "‖ω·F(x)‖",
    "branch": "‖F(x)‖",
    "ratio": "‖ω·F(x)‖ / ‖x‖",
}
_STYLES = {
    1: {"color": COLORS["selection"], "marker": "o"},
    2: {"color": COLORS["test"], "marker": "s"},
    3: {"color": COLORS["ink"], "marker": "^"},
}
_ABOUT = f"""CIFAR-10, after the initial training of {RUN}, one row of panels for each
scale: one point for each removable unit, of all seeds that were measured. Across, |ω|;
up, Euclidean norms, means over the images held out of training: of what the unit adds
(the paper's output of a unit), of its branch F before ω, and of what it adds relative
to its shortcut.

*Monotone*: Spearman's rank correlation with |ω| of all units of a net is positive
(one-sided, p below {_ALPHA}), in every net, of two or more; it does not hold if it is
in none and negative in some. One net decides nothing. The first norm has |ω| as a
factor, which makes much of this; the second and the third show whether the branch, or
its share, grows too. Ranks are within a net; correlations are means over nets, with
smallest and largest."""


class Point(typing.NamedTuple):
    """A unit of a net: its stage, |ω|, and norms by their key in the records."""

    stage: int
    importance: float
    norms: dict


def make(records=RECORDS):
    """The page and its drawing.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    found = {scale: measured_points(sources, scale) for scale in _SCALES}
    parts = ["![Norms of units against their importance](figure5.svg)\n"]
    for scale, nets in found.items():
        title = f"## Rank correlation with |ω|, {WORDS[scale]}\n\n"
        parts.append(title + _correlations(sources, nets, scale))
        if nets:
            verdict = monotone(nets)
            parts.append(f"Monotone: {verdict.state} ({verdict.reason}).\n")
            parts.append(f"### Numbers, {WORDS[scale]}\n\n" + _numbers(nets))
    return sources.result(
        "Figure 5: importance and what a unit adds",
        "figure5",
        _ABOUT,
        *parts,
        figure5=draw(paint, found, width=10.0, height=6.8),
    )


def measured_points(sources, scale="paper"):
    """`Point`s by name of the unit, by seed, of the nets that were measured.

    Args:
        sources: `Sources`. The files are those of `experiments.unit_norms`.
        scale: of the runs.
    """
    series, nets = sources.series(RUN, scale), {}
    for seed in series.runs:
        path = sources.records / series.row.record(seed) / _FILE
        if path.is_file():
            units = json.loads(path.read_text(encoding="utf-8"))["units"]
            nets[seed] = {name: _point(name, norms) for name, norms in units.items()}
    return nets


def gap(sources, scale="paper"):
    """The text of a cell that the measurement would fill."""
    series = sources.series(RUN, scale)
    if not series.runs:
        return sources.cell(series)
    seed = next(iter(series.runs))
    return sources.not_run.cell(
        f"python -m experiments.unit_norms runs/{series.row.run}-seed{seed} "
        "--data_dir=DATA"
    )


def monotone(nets):
    """The `Verdict` on the norm of what units add growing with |ω|.

    Args:
        nets: what `measured` returned.
    """
    if not nets:
        return Verdict(OPEN, "not run")
    positive, negative = (
        sum(
            stats.spearmanr(*_columns(points, "scaled"), alternative=side).pvalue
            < _ALPHA
            for points in nets.values()
        )
        for side in ("greater", "less")
    )
    state = HOLDS if positive == len(nets) else OPEN
    if negative and not positive:
        state = FAILS
    return Verdict(of_seeds(state, len(nets)), f"in {positive} of {len(nets)} nets")


def paint(figure, found):
    """A row for each scale with a panel for each norm; colours and marks by stage."""
    grid = figure.subplots(len(found), len(_NORMS), squeeze=False)
    for row, (scale, nets) in zip(grid, found.items(), strict=True):
        _paint_row(row, nets)
        row[0].set_ylabel(f"mean over held-out images\n({WORDS[scale]})")
    legends = (row[0].get_legend_handles_labels()[0] for row in grid)
    handles = next(filter(None, legends), None)
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))


def _paint_row(row, nets):
    for axes, (key, title) in zip(row, _NORMS.items(), strict=True):
        axes.set_title(title, fontsize=10.5)
        axes.set_xlabel("importance |ω|")
        if not nets:
            axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center")
            axes.set_xticks([])
            axes.set_yticks([])
            continue
        points = [p for net in nets.values() for p in net.values()]
        for stage, style in _STYLES.items():
            own = [point for point in points if point.stage == stage]
            x, y = _columns(dict(enumerate(own)), key)
            label = f"stage {stage}"
            axes.plot(x, y, linestyle="none", markersize=5, label=label, **style)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)


def _correlations(sources, nets, scale):
    columns = ["units", "nets", *_NORMS.values()]
    if not nets:
        row = ["all", gap(sources, scale), *["-"] * len(_NORMS)]
        return markdown_table(columns, [row])
    rows = []
    groups = {"all": [*_STYLES], **{f"stage {stage}": [stage] for stage in _STYLES}}
    for title, stages in groups.items():
        own = [
            {name: point for name, point in net.items() if point.stage in stages}
            for net in nets.values()
        ]
        cells = [_spread([_spearman(points, key) for points in own]) for key in _NORMS]
        rows.append([title, str(len(nets)), *cells])
    return markdown_table(columns, rows)


def _spearman(points, key):
    return float(stats.spearmanr(*_columns(points, key)).statistic)


def _spread(values):
    low, high = min(values), max(values)
    return f"{statistics.fmean(values):+.2f} ({low:+.2f} to {high:+.2f})"


def _numbers(nets):
    rows = [
        [
            str(seed),
            name,
            f"{point.importance:.4f}",
            *(f"{point.norms[key]:.4g}" for key in _NORMS),
        ]
        for seed, net in nets.items()
        for name, point in net.items()
    ]
    return markdown_table(["seed", "unit", "|ω|", *_NORMS.values()], rows)


def _point(name, norms):
    stage = int(name.split("_")[0].removeprefix("stage"))
    return Point(stage, abs(norms["importance"]), {key: norms[key] for key in _NORMS})


def _columns(points, key):
    """|ω| and a norm of some `Point`s, as two lists."""
    importances = [point.importance for point in points.values()]
    return importances, [point.norms[key] for point in points.values()]
