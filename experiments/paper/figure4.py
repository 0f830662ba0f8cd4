"""Figure 4: epochs of retraining, and units removed per round."""

from experiments.pages.scales import WORDS
from experiments.pages.style import (
    COLORS,
    DASHES,
    captioned,
    draw,
    legend,
    line,
    title,
)
from experiments.paper import published
from experiments.paper.curves import (
    Curve,
    mark_accuracy,
    mark_layers,
    paint_curves,
    panel_title,
    seeds_of,
    split_tables,
)
from experiments.paper.rows import PRUNING_RUNS
from experiments.paper.sources import Sources

_ABOUT = """Test accuracy on CIFAR-10 against the number of layers. Cells are the mean ±
standard deviation over n seeds, in %. All runs of one scale start from the same initial
models.

- (a) One unit per round, retrained for 30, 60 or 120 epochs.
- (b) k = 1, 2 or 4 units per round, retrained for 60 epochs; for k = 2 also at a
  quarter of the epochs, from initial models of that scale.

The runs end at the paper's numbers of layers, 32 and, for k = 4, 20. Fewer units per
round also mean more epochs of retraining in all."""
_CAPTION = """Figure 4. Test accuracy (%) on CIFAR-10 against the number of layers.
Points are means over n seeds, bars one standard deviation; n by curve: {seeds}. From
the text of the paper: its initial accuracy, {layers} layers as the smallest model that
maintained it with k = 2, and {accuracy} % at {at} layers with k = 4. Source: the
records listed below."""
_REPEATED = """The numbers are those of [Figure 3](figure3.md), which shows the same
runs.
"""
_RETRAIN = {
    "c10-retrain30": ("30 epochs", line("vermilion", "^")),
    "c10-main": ("60 epochs", line("black", "o")),
    "c10-retrain120": ("120 epochs", line("blue", "s")),
}
_UNITS = {
    "c10-main": ("k = 1", line("black", "o")),
    "c10-k2": ("k = 2", line("blue", "D")),
    "c10-k2-quarter": (
        "k = 2, a quarter of the epochs",
        line("sky", "D", DASHES, hollow=True),
    ),
    "c10-k4": ("k = 4", line("orange", "v")),
}
RUNS = list({**_RETRAIN, **_UNITS})
_TICKS = (56, 50, 44, 38, 32)


def make(records):
    """The page and its drawing; None without records."""
    sources = Sources(records)
    if not sources.on_record(RUNS):
        return None
    panels = {
        "(a) epochs of retraining": _panel(sources, _RETRAIN),
        "(b) units removed per round": _panel(sources, _UNITS),
    }
    panels = {key: found for key, found in panels.items() if found[0]}
    parts = []
    for name, (curves, _) in panels.items():
        if all(each.series[0].row.run in PRUNING_RUNS["cifar10"] for each in curves):
            parts.append(f"## {name}\n\n{_REPEATED}")
            continue
        parts += [f"## {name}, {w}\n\n{table}" for _, w, table in split_tables(curves)]
    at, accuracy = published.BY_FOUR
    caption = _CAPTION.format(
        seeds="; ".join(f"{key[:3]} {seeds_of(c)}" for key, (c, _) in panels.items()),
        layers=published.SMALLEST_BY_TWO,
        accuracy=accuracy,
        at=at,
    )
    return sources.result(
        "Figure 4: epochs of retraining, units per round",
        "figure4",
        _ABOUT,
        captioned("figure4.svg", caption),
        *parts,
        figure4=draw(paint, panels, height=3.8),
    )


def _panel(sources, runs):
    """The recorded `Curve`s, and the initial accuracies at their scales."""
    curves = [
        Curve(label, (sources.series(run),), style)
        for run, (label, style) in runs.items()
    ]
    curves = [curve for curve in curves if curve.points()]
    scales = [
        scale for scale in WORDS if scale in {c.series[0].row.scale for c in curves}
    ]
    shared = {scale: sources.series("c10-k2", scale) for scale in scales}
    return curves, {scale: s.summary(s.initial()) for scale, s in shared.items()}


def paint(figure, panels):
    """Draws the panels (a) and (b), if they have curves."""
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, (curves, initial)) in zip(row, panels.items(), strict=True):
        title(axes, panel_title(name, curves), pad=20)
        reached = {layers for curve in curves for layers in curve.points()}
        ticks = [*_TICKS, *(n for n in (26, 20) if n >= min(reached, default=56))]
        paint_curves(axes, curves, ticks, initial)
        mark_accuracy(axes, published.INITIAL_ACCURACY["cifar10"])
        if name.startswith("(b)"):
            mark_layers(axes, published.SMALLEST_BY_TWO, "paper, k = 2")
            axes.plot(
                *published.BY_FOUR,
                linestyle="none",
                marker="*",
                markersize=11,
                color=COLORS["orange"],
                markeredgecolor=COLORS["black"],
                zorder=5,
                label="paper, k = 4",
            )
    row[0].set_ylabel("test accuracy (%)")
    legend(figure, row)
