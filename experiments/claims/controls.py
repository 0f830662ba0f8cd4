"""Controls: how much of a result is due to the method, and how much to long training.

They belong to one pruning run, `MAIN`. Arms are compared at the end of that run, a
depth that was fixed beforehand, so held-out images select nothing here.
"""

from experiments.pages.cells import each, hours, percent, points
from experiments.pages.differences import judged, no_drop, pair, summarize
from experiments.pages.results import RECORDS, markdown_table
from experiments.pages.scales import WORDS, suffix
from experiments.paper.rows import BY_RUN
from experiments.paper.sources import Sources

MAIN, RESTART = "c10-k2", "c10-restart"
# Arms that go on from the initial model of the main one, or train once.
CONTROLS = {
    RESTART: "the full model with the same restarts, nothing removed",
    "c10-random": "random units removed",
    "c10-scratch-b": "the pruned model from scratch, for as much compute",
    "c10-small-lr": "retrained from a small learning rate",
    "c10-largest": "units with the largest |ω| removed",
    "c10-scratch-e": "the pruned model from scratch, for as many epochs",
}
# One unit per round, and what goes beyond the paper from there.
SINGLE, SINGLE_RESTART = "c10-main", "c10-main-restart"
BEYOND = {
    SINGLE_RESTART: "the full model with the same restarts, nothing removed",
    "c10-guided": "cosine schedule, initial model as teacher, Taylor scores",
    "c10-cosine": "cosine schedule alone",
}
# The comparison that is large enough to decide, with the margin that was fixed
# before its first run.
SHORT, SHORT_MARGIN = "c10-r29", 0.003
SHORT_ARMS = {
    "c10-r29-restart": "the full model with the same restart, nothing removed",
    "c10-r29-random": "three random units removed at once",
    "c10-r29-scratch-b": "the pruned model from scratch, for as much compute",
}
# Whose smallest models are of interest; the last one starts from another model.
_SELECTED = (
    (MAIN, "quarter"),
    *((run, "paper") for run in (MAIN, SINGLE, *[*BEYOND][1:], "c10-basic")),
)
_ABOUT = f"""CIFAR-10. Every table compares one pruning run with its controls, at one
scale and seed by seed; runs of different scales are never paired. *Full length* means
the epochs of the flagfiles: for ResNet-56 those of the paper. The models compared are
those at the end of the pruning run: its number of layers was fixed beforehand, so no
images selected them. A control that removes nothing is compared in the same round,
one that trains a model from scratch as it is.

- *test*, *held-out*: accuracy in %, mean ± standard deviation over n seeds, on the
  10,000 test images and the 5,000 held-out images.
- *difference*: the control less the pruning run, same seed, in percentage points: mean
  and 95 % t interval. If the interval contains 0, it is open which is better. *Pooled*:
  on the test and the held-out images together, which lowers the standard deviation that
  the number of images causes by a factor of 0.82.
- *epochs*, *hours* of a seed: from the start of the initial training to that model, on
  the processor named.
- A quarter of the paper's epochs do not train a model to convergence. A pruning run is
  therefore compared with controls of as many epochs or as much compute, never with its
  own initial model alone. Models from scratch have no ω.
- *ResNet-29*: three of its six removable units are removed at once. Whether the pruned
  model is worse than the restarted full one is decided with a margin of
  {100 * SHORT_MARGIN:g} percentage points, fixed before the first run.
- *Smallest models that maintained accuracy*: selected on held-out images unless the
  command of a run says otherwise. *Change*: from the initial model of the same seed, on
  the test set. c10-basic starts from the common ResNet-56 of basic units."""


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    parts = []
    for scale in ("quarter", "paper"):
        parts.append(
            f"## Controls, {WORDS[scale]}\n\n{_table(sources, MAIN, CONTROLS, scale)}"
        )
        parts.append(
            f"### Restarts, {WORDS[scale]}\n\n"
            f"{_restarts(sources, MAIN, RESTART, scale)}"
        )
    return sources.result(
        "Controls, and beyond the paper",
        "controls",
        _ABOUT,
        *parts,
        f"## ResNet-29, eight seeds\n\n{_table(sources, SHORT, SHORT_ARMS)}",
        "## One unit per round, and beyond the paper\n\n"
        f"{_table(sources, SINGLE, BEYOND)}",
        "### Restarts with one unit per round\n\n"
        f"{_restarts(sources, SINGLE, SINGLE_RESTART)}",
        f"## Smallest models that maintained accuracy\n\n{_selected(sources)}",
    )


def compared(main, series):
    """The records of a series to compare with the ends of a pruning run.

    Args:
        main: the `Series` of the pruning run.
        series: the `Series` of a control.

    Returns:
        A dict by seed: the only round there is, the round of the same number if the
        control removes nothing, or else the one with as many layers. Seeds that lack
        it, or that the pruning run lacks, are left out.
    """
    ends = main.last()
    by_layers = series.at({seed: r["layers"] for seed, r in ends.items()})
    by_number = series.rounds({seed: r["round"] for seed, r in ends.items()})
    found = {}
    for seed, run in series.runs.items():
        if seed not in ends:
            continue
        if len(run.rounds) == 1:
            found[seed] = run.rounds[0]
        else:
            same = by_layers if run.removals else by_number
            if seed in same:
                found[seed] = same[seed]
    return found


def difference(main, series, split="test"):
    """`Paired` accuracies of a control less those at the end of the pruning run."""
    return pair(
        series.accuracies(compared(main, series), split),
        main.accuracies(main.last(), split),
    )


def known(runs, scale):
    """Those of some runs that are planned at a scale."""
    return [run for run in runs if run + suffix(scale) in BY_RUN]


def _table(sources, reference, controls, scale="paper"):
    columns = (
        "experiment,what is done,layers,test,held-out,difference on test,"
        "difference pooled,epochs,hours,processor"
    )
    what = {reference: "the pruning run itself", **controls}
    main, rows = sources.series(reference, scale), []
    for run in known(what, scale):
        series = sources.series(run, scale)
        start = [series.row.run, what[run]]
        found = compared(main, series)
        if not found:
            lacking = series if not series.runs else main
            cells = sources.gap(lacking, 8) if not lacking.runs else ["-"] * 8
            rows.append([*start, *cells])
            continue
        seconds = series.spent("seconds", found).values()
        rows.append(
            [
                *start,
                each(record["layers"] for record in found.values()),
                *(
                    percent(summarize(series.accuracies(found, split).values()))
                    for split in ("test", "validation")
                ),
                *(
                    "-" if run == reference else points(difference(main, series, split))
                    for split in ("test", "pooled")
                ),
                each(series.spent("epochs", found).values()),
                hours(sum(seconds) / len(seconds)),
                series.processors,
            ]
        )
    return markdown_table(columns.split(","), rows)


def _restarts(sources, main, restart, scale="paper"):
    """A pruning run and its restart control, round by round."""
    main, restart = sources.series(main, scale), sources.series(restart, scale)
    columns = ["round", f"layers of {main.row.run}"]
    columns += [f"{series.row.run}, test" for series in (main, restart)]
    columns += ["difference on test", "difference pooled"]
    if not (main.runs and restart.runs):
        cells = [sources.cell(s) if not s.runs else "-" for s in (main, restart)]
        return markdown_table(columns, [["-", "-", *cells, "-", "-"]])
    rows = []
    numbers = {r["round"] for run in main.runs.values() for r in run.rounds}
    for number in sorted(numbers):
        ours, theirs = main.rounds(number), restart.rounds(number)
        rows.append(
            [
                str(number),
                each(record["layers"] for record in ours.values()),
                percent(summarize(main.accuracies(ours).values())),
                percent(summarize(restart.accuracies(theirs).values())),
                *(
                    points(
                        pair(
                            restart.accuracies(theirs, split),
                            main.accuracies(ours, split),
                        )
                    )
                    for split in ("test", "pooled")
                ),
            ]
        )
    return markdown_table(columns, rows)


def _selected(sources):
    columns = (
        "experiment,scale,layers before,layers after,MACs %,parameters %,initial,"
        "selected,change,no loss,epochs"
    )
    rows = []
    for run, scale in _SELECTED:
        series = sources.series(run, scale)
        start = [series.row.run, WORDS[scale]]
        if not series.runs:
            rows.append([*start, *sources.gap(series, 9)])
            continue
        first, chosen = series.initial(), series.chosen()
        change = series.change(chosen)
        left = [
            each(f"{100 * chosen[seed][key] / first[seed][key]:.1f}" for seed in chosen)
            for key in ("macs", "parameters")
        ]
        rows.append(
            [
                *start,
                each(record["layers"] for record in first.values()),
                each(record["layers"] for record in chosen.values()),
                *left,
                percent(summarize(series.accuracies(first).values())),
                percent(summarize(series.accuracies(chosen).values())),
                points(change),
                judged(no_drop, change, series.doubt(chosen, chosen=True)).state,
                each(series.spent("epochs", chosen).values()),
            ]
        )
    return markdown_table(columns.split(","), rows)
