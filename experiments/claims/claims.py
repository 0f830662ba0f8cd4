"""The claims that trained nets decide, each by a rule.

Every function here takes `Sources` and returns a `Claim`, or a list of them. `name` is
a data set as in `paper.TITLES`, `chain` the `Series` of its removals.
"""

import typing

from experiments.claims import controls
from experiments.pages.cells import points
from experiments.pages.differences import (
    FAILS,
    HOLDS,
    MARGIN,
    OPEN,
    Verdict,
    above,
    equal,
    judged,
    no_drop,
    of_seeds,
    pair,
)
from experiments.paper import figure5, figure6, published
from experiments.paper.rows import PREFIXES
from experiments.paper.series import kept_units

_SOME_EXTENT = 0.01
# The baseline nearest to the paper's smallest net, and the net of the chain beside it.
_BASELINE = {"cifar10": (38, 38), "cifar100": (38, 38), "imagenet2012": (34, 35)}
RULES = f"""Intervals are 95 % t intervals of differences of the same seed, on the test
set. A verdict is open where records are missing, where they were made at
`--scale=smoke`, and where an interval decides neither way. One seed is an observation
and decides nothing: its numbers are shown, and the verdict is *open (n = 1)*, or
*observed once* where a model has the property that is claimed. Every claim is judged at
one scale; records of other scales do not count for it.

- *No loss*: the interval of the net less the initial one lies above -{100 * MARGIN:g}
  points. *To some extent*: above -{100 * _SOME_EXTENT:g} point.
- *Better*, *below*: the interval lies above 0; it does not hold if the interval lies
  below. *Alike*: within {100 * MARGIN:g} points of 0. *No better*: as *no loss*.
- All of them are open if not every seed on record has a net of that depth. Chains have
  more epochs behind them than the plain nets beside them, one unit a round more than
  four; the pages list them.
- Controls are compared with the end of the pruning run, whose number of layers was
  fixed beforehand: no images selected it.
- ResNet-29 is judged with a margin of {100 * controls.SHORT_MARGIN:g} percentage
  points, fixed before its first run.
- *The first stage keeps the fewest units*, ties included: so in all nets of that depth,
  of two seeds or more; it does not hold if in none. Of nets with units removed at
  random about every second is so on CIFAR.
- *Monotone*, *two modes*: by the tests that their pages name.
- ImageNet's runs are planned with one seed, so that its accuracies stay open; its "test
  set" is the official validation images.
"""


class Claim(typing.NamedTuple):
    """A claim as it stands.

    Attributes:
        text: what is claimed.
        data: name of the data set, as in `paper.TITLES`.
        verdict: a `Verdict`.
        numbers: what decides, as text.
        page: name of the result with the details.
    """

    text: str
    data: str
    verdict: Verdict
    numbers: str
    page: str


def _claim(sources, text, data, page, series, doubts, paired, judge):
    """A claim that an interval decides, unless there are doubts about its records."""
    missing = [each for each in series if not each.runs]
    verdict = judged(judge, paired, *doubts)
    if missing:
        numbers = ", ".join(map(sources.cell, missing))
    elif paired is None:
        numbers = "no net of that depth"
    else:
        runs = " and ".join(each.row.run for each in series)
        numbers = "; ".join([points(paired), runs, *filter(None, doubts)])
    return Claim(text, data, verdict, numbers, page)


def _better(paired):
    return above(paired, 0)


def no_loss(sources, name, chain):
    """Table 1: accuracy is kept down to the paper's smallest net."""
    layers = published.SMALLEST_LAYERS[name]
    nets = chain.at(layers)
    text = f"no loss of accuracy at {layers} layers"
    doubts = [chain.doubt(nets)]
    paired = chain.change(nets)
    return _claim(sources, text, name, "table1", [chain], doubts, paired, no_drop)


def first_stage(sources, name, chain):
    """Table 1: most of what goes is in the first stage."""
    layers = published.SMALLEST_LAYERS[name]
    kept = [list(kept_units(r).values()) for r in chain.at(layers).values()]
    fewest = sum(counts[0] == min(counts) for counts in kept)
    numbers = f"in {fewest} of {len(kept)} nets; {chain.row.run}"
    if not kept:
        numbers = "no net of that depth" if chain.runs else sources.cell(chain)
    state = OPEN
    if kept and not chain.doubt(chain.at(layers)):
        state = {len(kept): HOLDS, 0: FAILS}.get(fewest, OPEN)
    state = of_seeds(state, len(kept))
    text = f"the first stage keeps the fewest units, at {layers} layers"
    return Claim(text, name, Verdict(state, numbers), numbers, "table1")


def plain(sources, name, chain):
    """Figure 3: nets trained from scratch are worse."""
    depth, layers = _BASELINE[name]
    plain = sources.series(f"{PREFIXES[name]}-plain{depth}")
    mine, theirs = chain.at(layers), plain.initial()
    paired = pair(chain.accuracies(mine), plain.accuracies(theirs))
    text = f"better, at {layers} layers, than a plain net of {depth}"
    series, doubts = [chain, plain], [chain.doubt(mine), plain.doubt(theirs)]
    return _claim(sources, text, name, "figure3", series, doubts, paired, _better)


def distilled(sources, name, chain):
    """Figure 3: distilled nets are alike on CIFAR-10, worse elsewhere."""
    depth, layers = _BASELINE[name]
    distilled = sources.series(f"{PREFIXES[name]}-distilled{depth}")
    taught = distilled.accuracies(distilled.initial())
    if name == "cifar10":
        text, judge = f"like distillation, at {depth} layers", equal
        nets = chain.at(layers)
    else:
        text, judge = (
            f"distillation to {depth} layers is below the initial net",
            _better,
        )
        nets = chain.initial()
    paired = pair(chain.accuracies(nets), taught)
    series = [chain, distilled]
    doubts = [chain.doubt(nets), distilled.doubt(distilled.initial())]
    return _claim(sources, text, name, "figure3", series, doubts, paired, judge)


def epochs_and_units(sources):
    """Figure 4: short retraining does, and few units at once are better."""
    main, short, two, four = map(
        sources.series, ("c10-main", "c10-retrain30", "c10-k2", "c10-k4")
    )
    layers = published.SMALLEST_BY_TWO

    def some_extent(paired):
        return above(paired, -_SOME_EXTENT)

    kept = short.change(short.at(layers))
    by_two = two.change(two.at(layers))
    gain = pair(main.accuracies(main.at(layers)), four.accuracies(four.at(layers)))
    texts = (
        f"30 epochs of retraining keep accuracy to some extent, at {layers} layers",
        f"no loss at {layers} layers with two units a round",
        f"one unit a round is better than four, at {layers} layers",
    )
    return [
        _claim(
            sources,
            text,
            "cifar10",
            "figure4",
            series,
            [each.doubt(each.at(layers)) for each in series],
            paired,
            judge,
        )
        for text, series, paired, judge in zip(
            texts,
            ([short], [two], [main, four]),
            (kept, by_two, gain),
            (some_extent, no_drop, _better),
            strict=True,
        )
    ]


def monotone(sources, scale="paper"):
    """Figure 5: ω tells how much a unit adds."""
    nets = figure5.measured_points(sources, scale)
    smoke = sources.series(figure5.RUN, scale).smoke
    verdict = figure5.monotone(nets)
    numbers = verdict.reason if nets else figure5.gap(sources, scale)
    text = "units with a small |ω| add little: monotone"
    return _tested(text, smoke, verdict, numbers, "figure5")


def modes(sources, scale="paper"):
    """Figure 6: ω stays away from 0."""
    series = sources.series(figure6.RUN, scale)
    verdict = figure6.judged_modes(series)
    numbers = verdict.reason if series.runs else sources.cell(series)
    text = f"ω gathers in two modes near ±{published.MODE}, not at 0"
    return _tested(text, series.smoke, verdict, numbers, "figure6")


def _tested(text, smoke, verdict, numbers, page):
    if smoke:
        verdict = Verdict(OPEN, "smoke records")
    return Claim(text, "cifar10", verdict, numbers, page)


def argued(sources, scale="paper"):
    """What the paper argues and does not show, at the depth of its smallest model."""
    texts = {
        "c10-random": "better than removing random units",
        "c10-largest": "better than removing the largest |ω|",
        "c10-small-lr": "better than retraining at a small learning rate",
    }
    return [
        _against(sources, run, f"{texts[run]}, at 32 layers", _better, scale)
        for run in controls.known(texts, scale)
    ]


def restarts(sources, scale="paper"):
    """Whether accuracy is maintained by the removal or by the restarts alone."""
    pairs = [(controls.MAIN, controls.RESTART)]
    if scale == "paper":
        pairs.append((controls.SINGLE, controls.SINGLE_RESTART))
    found = []
    for main, restart in pairs:
        text = f"{main}: no worse than the full model after the same restarts"
        found.append(_against(sources, restart, text, no_drop, scale, main))
        series = sources.series(restart, scale)
        paired, doubts = series.change(series.last()), [series.doubt(series.last())]
        text = f"the restarts of {main} alone raise the accuracy of the full model"
        found.append(
            _claim(
                sources,
                text,
                "cifar10",
                "controls",
                [series],
                doubts,
                paired,
                _better,
            )
        )
    return found


def from_scratch(sources, scale="paper"):
    """Whether pruning is better than training the pruned architecture."""
    texts = {
        "c10-scratch-b": "better than the pruned architecture trained from scratch, "
        "for as much compute",
        "c10-scratch-e": "the same, for as many epochs",
    }
    return [
        _against(sources, run, texts[run], _better, scale)
        for run in controls.known(texts, scale)
    ]


def short(sources):
    """ResNet-29, three units at once: the comparison with most seeds."""
    margin = 100 * controls.SHORT_MARGIN

    def no_worse(paired):
        return above(paired, -controls.SHORT_MARGIN)

    texts = {
        "c10-r29-restart": (
            f"no worse, by {margin:g} percentage points, than the restarted full model",
            no_worse,
        ),
        "c10-r29-random": ("better than removing random units", _better),
        "c10-r29-scratch-b": (
            "better than the pruned architecture from scratch, for as much compute",
            _better,
        ),
    }
    return [
        _against(sources, run, f"ResNet-29: {text}", judge, main=controls.SHORT)
        for run, (text, judge) in texts.items()
    ]


def _against(sources, run, text, judge, scale="paper", main=controls.MAIN):
    """The ends of a pruning run against a control, as on the page of controls."""
    main, control = sources.series(main, scale), sources.series(run, scale)
    mine, theirs = main.last(), controls.compared(main, control)
    paired = pair(main.accuracies(mine), control.accuracies(theirs))
    doubts = [main.doubt(mine), control.doubt(theirs)]
    series = [main, control]
    return _claim(sources, text, "cifar10", "controls", series, doubts, paired, judge)
