"""The claims that trained nets decide, each by a rule.

Every function here takes `Sources` and returns a `Claim`, or a list of them. `name` is
a data set as in `paper.TITLES`, `chain` the `Series` of its removals.
"""

import typing

from experiments import controls, figure5, figure6, paper
from experiments.cells import points
from experiments.differences import (
    FAILS,
    HOLDS,
    MARGIN,
    OPEN,
    Verdict,
    above,
    equal,
    judged,
    no_drop,
    pair,
)
from experiments.rows import PREFIXES
from experiments.series import kept_units

_SOME_EXTENT = 0.01
# The baseline nearest to the paper's smallest net, and the net of the chain beside it.
_BASELINE = {"cifar10": (38, 38), "cifar100": (38, 38), "imagenet2012": (34, 35)}
RULES = f"""Intervals are 95 % t intervals of differences of the same seed, on the test
set; one seed has none. A verdict is open where records are missing, where they were
made at `--scale=smoke`, and where an interval decides neither way.

- *No loss*: the interval of the net less the initial one lies above -{100 * MARGIN:g}
  points. *To some extent*: above -{100 * _SOME_EXTENT:g} point.
- *Better*, *below*: the interval lies above 0; it does not hold if the interval lies
  below. *Alike*: within {100 * MARGIN:g} points of 0. *No better*: as *no loss*.
- All of them are open if not every seed on record has a net of that depth. Chains have
  more epochs behind them than the plain nets beside them, one unit a round more than
  four; the pages list them.
- The net that a chain chose is compared where the control has only that net (from
  scratch, the full net). It was chosen by held-out images, which favours it a little on
  the test set too.
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


def further(sources):
    """What the paper leaves open: what long training alone would do."""
    texts = {
        "c10-scratch-e": "the removal chain is better than its net from scratch, for "
        "as many epochs",
        "c10-scratch-b": "the same, for as much compute",
        "c10-full": "the full net, trained for as many epochs, is no better",
    }
    return [
        _against_main(sources, run, text, no_drop if run == "c10-full" else None)
        for run, text in texts.items()
    ]


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
    layers = paper.SMALLEST_LAYERS[name]
    nets = chain.at(layers)
    text = f"no loss of accuracy at {layers} layers"
    doubts = [chain.doubt(nets)]
    paired = chain.change(nets)
    return _claim(sources, text, name, "table1", [chain], doubts, paired, no_drop)


def first_stage(sources, name, chain):
    """Table 1: most of what goes is in the first stage."""
    layers = paper.SMALLEST_LAYERS[name]
    kept = [list(kept_units(r).values()) for r in chain.at(layers).values()]
    fewest = sum(counts[0] == min(counts) for counts in kept)
    numbers = f"in {fewest} of {len(kept)} nets; {chain.row.run}"
    if not kept:
        numbers = "no net of that depth" if chain.runs else sources.cell(chain)
    state = OPEN
    if len(kept) > 1 and not chain.doubt(chain.at(layers)):
        state = {len(kept): HOLDS, 0: FAILS}.get(fewest, OPEN)
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
    layers = paper.SMALLEST_BY_TWO

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


def monotone(sources):
    """Figure 5: ω tells how much a unit adds."""
    nets, smoke = figure5.measured(sources), sources.series(figure5.RUN).smoke
    verdict = figure5.monotone(nets)
    numbers = verdict.reason if nets else figure5.gap(sources)
    text = "units with a small |ω| add little: monotone"
    return _tested(text, smoke, verdict, numbers, "figure5")


def modes(sources):
    """Figure 6: ω stays away from 0."""
    series = sources.series(figure6.RUN)
    verdict = figure6.two_modes(figure6.pooled(series))
    numbers = verdict.reason if series.runs else sources.cell(series)
    text = f"ω gathers in two modes near ±{paper.MODE}, not at 0"
    return _tested(text, series.smoke, verdict, numbers, "figure6")


def _tested(text, smoke, verdict, numbers, page):
    if smoke:
        verdict = Verdict(OPEN, "smoke records")
    return Claim(text, "cifar10", verdict, numbers, page)


def argued(sources):
    """What the paper argues and does not show, at the depth of its smallest net."""
    texts = {
        "c10-random": "better than removing random units",
        "c10-largest": "better than removing the largest |ω|",
        "c10-small-lr": "better than retraining at a small learning rate",
    }
    main, layers = sources.series(controls.MAIN), paper.SMALLEST_LAYERS["cifar10"]
    return [
        _between(
            sources,
            f"{text}, at {layers} layers",
            (main, main.at(layers)),
            (control, control.at(layers)),
        )
        for run, text in texts.items()
        for control in [sources.series(run)]
    ]


def _against_main(sources, run, text, judge=None):
    """The main experiment's chosen nets against a control, as on its page."""
    main, control = sources.series(controls.MAIN), sources.series(run)
    mine = main, main.chosen()
    theirs = control, controls.compared(main, control)
    return _between(sources, text, mine, theirs, judge, chosen=True)


def _between(sources, text, mine, theirs, judge=None, chosen=False):
    """Nets of the main experiment against a control's, each `(series, records)`."""
    main, control = mine[0], theirs[0]
    paired = pair(*(series.accuracies(nets) for series, nets in (mine, theirs)))
    doubts = [main.doubt(mine[1], chosen), control.doubt(theirs[1])]
    return _claim(
        sources,
        text,
        "cifar10",
        "controls",
        [main, control],
        doubts,
        paired,
        judge or _better,
    )
