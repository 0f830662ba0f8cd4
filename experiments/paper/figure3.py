"""Figure 3: accuracy against layers, next to plain and distilled nets."""

from experiments.pages.cells import percent
from experiments.pages.plots import draw
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
from experiments.paper.rows import CHAINS, DEPTHS, PREFIXES, paper_chains
from experiments.paper.sources import Sources

_ABOUT = """Accuracy on the test set (ImageNet: its validation images) against the
number of layers: means over seeds, bars of one standard deviation.

- *proposed*: unit after unit removed, as in the paper (each retraining as long as the
  initial training) or with shorter retrainings, of one or two units a round. One curve
  has a quarter of the paper's epochs, initial training included; the others, and the
  initial accuracy, have the paper's epochs.
- *plain*: nets of that depth trained from scratch, without ω. *distilled*: the same
  under the deepest plain net as a teacher.
- *initial accuracy*: of the net with ω before anything is removed.
- The band marks the smallest net that kept the initial accuracy in the paper, the
  dotted line the paper's initial accuracy where its text gives it."""
# The layers from first to last.
_TICKS = {
    "cifar10": DEPTHS["cifar10"],
    "cifar100": DEPTHS["cifar100"],
    "imagenet2012": (50, 41, 34, 26, 17),
}
_STYLES = {
    "proposed, as in the paper": line("ink", "o"),
    "proposed, short retraining": line("muted", "o", hollow=True),
    "proposed, two units a round": line("muted", "D"),
    "proposed, two units, 1/4 of the epochs": line(
        "muted", "D", dashed=True, hollow=True
    ),
    "plain": line("selection", "s", dashed=True),
    "distilled": line("test", "^", dashed=True),
}


def make(records=RECORDS):
    """The page and its drawing.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    panels = {name: (curves_of(sources, name), start(sources, name)) for name in CHAINS}
    parts = [
        "![Accuracy against layers, the numbers of the tables below](figure3.svg)\n"
    ]
    for name, (curves, begin) in panels.items():
        for split, words, table in split_tables(sources, curves):
            parts.append(f"## {published.TITLES[name]}, {words}\n\n{table}")
            if split == "test":
                theirs = published.INITIAL_ACCURACY.get(name)
                parts.append(
                    f"Initial accuracy, ours: {percent(begin)}; paper: "
                    f"{theirs or 'only drawn'}. Smallest net that kept it, paper: "
                    f"{published.SMALLEST_LAYERS[name]} layers.\n"
                )
    return sources.result(
        "Figure 3: accuracy against layers",
        "figure3",
        _ABOUT,
        *parts,
        figure3=draw(paint, panels, width=11.0, height=4.2),
    )


def curves_of(sources, name):
    """The `Curve`s of a data set: chains, then plain and distilled nets."""
    prefix = PREFIXES[name]
    depths = DEPTHS[sources.series(next(iter(CHAINS[name]))).row.data]
    groups = {f"proposed, {label}": (run,) for run, label in CHAINS[name].items()}
    groups["plain"] = [f"{prefix}-plain{depth}" for depth in depths]
    groups["distilled"] = [f"{prefix}-distilled{depth}" for depth in depths[1:]]
    return [
        Curve(label, tuple(map(sources.series, runs)), _STYLES[label])
        for label, runs in groups.items()
    ]


def start(sources, name):
    """`Summary` of the initial accuracy on the test set; None without records."""
    return initial(sources.fullest(*paper_chains(name)))


def paint(figure, panels):
    """A panel for each data set."""
    row = figure.subplots(1, len(panels))
    for axes, (name, (curves, begin)) in zip(row, panels.items(), strict=True):
        axes.set_title(published.TITLES[name], pad=20, fontsize=10.5)
        drawn = paint_curves(axes, curves, _TICKS[name], begin)
        layers = published.SMALLEST_LAYERS[name]
        mark_layers(axes, layers, f"paper: {layers} layers")
        if drawn and name in published.INITIAL_ACCURACY:
            mark_accuracy(axes, published.INITIAL_ACCURACY[name])
    row[0].set_ylabel("test accuracy, %")
    found = {}
    for axes in row:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if found:
        figure.legend(found.values(), found, loc="outside upper left", ncols=4)
