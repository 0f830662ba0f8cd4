"""Figure 3: accuracy against layers, next to plain and distilled models."""

from experiments.pages.cells import percent
from experiments.pages.scales import WORDS
from experiments.pages.style import DASHES, captioned, draw, legend, line, title
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
from experiments.paper.rows import BY_RUN, DEPTHS, PREFIXES, PRUNING_RUNS
from experiments.paper.sources import Sources

_ABOUT = """Test accuracy (on ImageNet: on the validation images) against the number of
layers. Cells are the mean ± standard deviation over n seeds, in %.

- *Proposed*: units removed round by round, at full length (the paper's initial
  training) or at a quarter of the epochs. The setting of the paper retrains for as many
  epochs as it trains initially; *short retraining* uses 60 epochs per round.
- *Plain*: models of that depth trained from scratch, without ω. *Distilled*: the same,
  with the deepest plain model as teacher.
- *Nothing removed*: a control that is not in the paper. The full model is retrained as
  often as the pruning run of two units per round, with the same restarts of the
  learning rate. Each point stands at the number of layers that the pruning run has
  after as many epochs; the control itself keeps all 56.
- *Initial*: the model with ω before any unit is removed.

Our CIFAR models train on 45,000 images, because 5,000 are held out; the paper states no
such split. Runs of different scales are never averaged, and a curve at a quarter of the
epochs is compared only with its own initial accuracy and its controls."""
_CAPTION = """Figure 3. Test accuracy (%) against the number of layers. Points are means
over n seeds, bars one standard deviation; n by curve: {seeds}. The grey band marks the
smallest model that maintained the initial accuracy in the paper. Source: the records
listed below."""
# Numbers of layers on the axis, the deepest first.
_TICKS = {
    "cifar10": DEPTHS["cifar10"],
    "cifar100": DEPTHS["cifar100"],
    "imagenet2012": (50, 41, 34, 26, 17),
}
_STYLES = {
    "proposed, as in the paper": line("black", "o"),
    "proposed, short retraining": line("blue", "o", hollow=True),
    "proposed, two units per round": line("blue", "D"),
    "proposed, two units, a quarter of the epochs": line(
        "sky", "D", DASHES, hollow=True
    ),
    "nothing removed, same restarts": line("purple", "v"),
    "nothing removed, same restarts, a quarter of the epochs": line(
        "purple", "v", DASHES, hollow=True
    ),
    "plain": line("orange", "s", DASHES),
    "distilled": line("green", "^", DASHES),
}


def _groups(name):
    """The rows of each curve of a data set, by label."""
    prefix = PREFIXES[name]
    depths = DEPTHS[BY_RUN[next(iter(PRUNING_RUNS[name]))].data]
    groups = {f"proposed, {label}": (run,) for run, label in PRUNING_RUNS[name].items()}
    groups["plain"] = [f"{prefix}-plain{depth}" for depth in depths]
    groups["distilled"] = [f"{prefix}-distilled{depth}" for depth in depths[1:]]
    return groups


# Controls that remove nothing, and the runs whose retrainings they repeat, by label.
_RESTARTS = {
    "nothing removed, same restarts": ("c10-restart", "c10-k2"),
    "nothing removed, same restarts, a quarter of the epochs": (
        "c10-restart-quarter",
        "c10-k2-quarter",
    ),
}
RUNS = [run for name in PRUNING_RUNS for runs in _groups(name).values() for run in runs]


def make(records):
    """The page and its drawing; None without records."""
    sources = Sources(records)
    if not sources.on_record(RUNS):
        return None
    panels, parts = {}, []
    for name in PRUNING_RUNS:
        curves, initial = curves_of(sources, name), initial_accuracies(sources, name)
        if not any(curve.points() for curve in curves):
            continue
        panels[name] = curves, initial
        for split, words, table in split_tables(curves):
            parts.append(f"## {published.TITLES[name]}, {words}\n\n{table}")
            if split == "test":
                parts.append(_initial_text(name, initial))
    seeds = "; ".join(
        f"{published.TITLES[name]}: {seeds_of(curves)}"
        for name, (curves, _) in panels.items()
    )
    return sources.result(
        "Figure 3: accuracy against layers",
        "figure3",
        _ABOUT,
        captioned("figure3.svg", _CAPTION.format(seeds=seeds)),
        *parts,
        figure3=draw(paint, panels, height=4.0),
    )


def _initial_text(name, initial):
    ours = "; ".join(f"{WORDS[s]} {percent(a)}" for s, a in initial.items() if a)
    theirs = published.INITIAL_ACCURACY.get(name)
    theirs = f"{theirs} %" if theirs else "only plotted"
    return (
        f"Initial accuracy, ours: {ours or 'not run'}; paper: {theirs}. Smallest model "
        f"that maintained it, paper: {published.SMALLEST_LAYERS[name]} layers.\n"
    )


def curves_of(sources, name):
    """The `Curve`s of a data set: pruning runs, controls and other models."""
    curves = [
        Curve(label, tuple(map(sources.series, runs)), _STYLES[label])
        for label, runs in _groups(name).items()
    ]
    if name == "cifar10":
        curves += [
            Curve(label, (sources.series(run),), _STYLES[label], sources.series(beside))
            for label, (run, beside) in _RESTARTS.items()
        ]
    return curves


def initial_accuracies(sources, name):
    """`Summary` of the initial accuracy on the test set by scale; None without one."""
    found = {}
    for run in PRUNING_RUNS[name]:
        found.setdefault(BY_RUN[run].scale, []).append(run)
    # Runs of one data set and scale share their initial models; the most are shown.
    most = {
        scale: max(map(sources.series, runs), key=lambda series: len(series.runs))
        for scale, runs in found.items()
    }
    return {scale: each.summary(each.initial()) for scale, each in most.items()}


def _ticks(name, curves):
    """The numbers of layers on the axis, down to the first below all models."""
    lowest = min(min(points) for curve in curves if (points := curve.points()))
    lowest = min(lowest, published.SMALLEST_LAYERS[name])
    below = [layers for layers in _TICKS[name] if layers <= lowest]
    return [layers for layers in _TICKS[name] if layers >= max(below, default=0)]


def paint(figure, panels):
    """Draws a panel for each data set."""
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, (curves, initial)) in zip(row, panels.items(), strict=True):
        title(axes, panel_title(published.TITLES[name], curves), pad=20)
        paint_curves(axes, curves, _ticks(name, curves), initial)
        layers = published.SMALLEST_LAYERS[name]
        mark_layers(axes, layers, f"paper: {layers} layers")
        if name in published.INITIAL_ACCURACY:
            mark_accuracy(axes, published.INITIAL_ACCURACY[name])
    row[0].set_ylabel("test accuracy (%)")
    legend(figure, row, columns=2)
