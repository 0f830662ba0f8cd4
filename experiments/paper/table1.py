"""Table 1: layers left in each stage of the smallest models without accuracy loss."""

import math

from experiments.pages.cells import (
    COUNTED_SEEDS,
    each,
    hours,
    on_split,
    percent,
    points,
)
from experiments.pages.differences import MARGIN, judged, no_drop, same_images
from experiments.pages.results import markdown_table
from experiments.pages.scales import WORDS
from experiments.paper import published
from experiments.paper.rows import PRUNING_RUNS
from experiments.paper.series import kept_units
from experiments.paper.sources import Sources

_ABOUT = f"""The smallest model of each pruning run whose accuracy was at least the
initial one on the images that select: held-out images, or the test set as in the paper.

- *Units*: residual units left in each stage; a unit has three convolutions.
  {COUNTED_SEEDS}. The paper states only the layers; we inferred its units from its
  Table 2 (on CIFAR-10, where none fit exactly, the closest). *Difference*: our layers
  minus the paper's.
- *Initial*, *selected*: accuracy in %, mean ± standard deviation over n seeds.
  *Change*: selected minus initial model of the same seed in percentage points, mean
  [95 % t interval]. It cannot be negative on the images that select the model, so the
  test set decides.
- *On the test set*: the smallest model whose accuracy on the test set was at least the
  initial one there, which is how the paper selects. It is shown for comparison; its
  accuracy on the test set cannot show a loss.
- *No loss*: the interval on the test set lies above -{100 * MARGIN:g} percentage points
  (holds), below (does not hold), or neither (open). It is open until all planned seeds
  are on record.
- *Scale*: full length is the paper's initial training of 200 epochs on CIFAR and 90 on
  ImageNet. Our CIFAR models train on 45,000 images, because 5,000 are held out; the
  paper states no such split. Runs of different scales are never averaged. A quarter of
  the epochs does not train to convergence, so any further training raises the accuracy:
  there is no verdict, and the page of controls compares runs of equal epochs.
- The target of a run limits the difference: the runs of 60 epochs per round end at the
  paper's number of layers, and only those with its setting go on to 11.
- *Image by image*: test images that the pruned model alone classifies wrongly or
  correctly, compared with the initial model of the same run, and p of McNemar's exact
  test. It tells whether two trained models differ, not what another seed would give."""
RUNS = [run for chains in PRUNING_RUNS.values() for run in chains]


def make(records):
    """The page; None without records."""
    sources = Sources(records)
    if not sources.on_record(RUNS):
        return None
    found = [
        (name, series)
        for name, runs in PRUNING_RUNS.items()
        for run in runs
        if (series := sources.series(run)).runs
    ]
    return sources.result(
        "Table 1: layers left without loss of accuracy",
        "table1",
        _ABOUT,
        f"## Layers\n\n{_layers(found)}",
        f"## Selected on the test set, as in the paper\n\n{_as_in_paper(found)}",
        *_same_size(found),
        f"## Accuracy\n\n{_accuracy(found)}",
        *_same_images(found),
        f"## Cost\n\n{_cost(found)}",
    )


def _title(name, series):
    row = series.row
    label = PRUNING_RUNS[name][row.run].removesuffix(f", {WORDS[row.scale]}")
    words = f"{row.run}: {label}"
    return [published.TITLES[name], words, WORDS[row.scale], str(len(series.runs))]


def _layers(found):
    columns = "data set,run,scale,n,units before,units after,convolutions after,"
    columns += "layers before,layers after,difference"
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        target = published.SMALLEST_LAYERS[name]
        before, after = published.INITIAL_UNITS[name], published.SMALLEST_UNITS[name]
        row = [published.TITLES[name], "paper", "-", "-"]
        row += [_slashed(before), _slashed(after)]
        row += [_slashed([3 * count for count in after]), str(3 * sum(before) + 2)]
        rows.append([*row, str(target), "-"])
        for series in (series for other, series in found if other == name):
            chosen = series.chosen().values()
            kept = [list(kept_units(record).values()) for record in chosen]
            first = series.initial().values()
            rows.append(
                [
                    *_title(name, series),
                    each(_slashed(kept_units(record).values()) for record in first),
                    each(map(_slashed, kept)),
                    each(_slashed(3 * count for count in counts) for counts in kept),
                    each(record["layers"] for record in first),
                    each(record["layers"] for record in chosen),
                    each(f"{record['layers'] - target:+d}" for record in chosen),
                ]
            )
    return markdown_table(columns.split(","), rows)


def _as_in_paper(found):
    """The smallest model of each seed that is as accurate on the test set."""
    columns = "data set,run,scale,n,layers,difference,initial,selected"
    rows = []
    for name, series in found:
        initial, smallest = series.initial(), {}
        for seed, run in series.runs.items():
            least = run.monitored(initial[seed], "test")
            good = [r for r in run.rounds if run.monitored(r, "test") >= least]
            smallest[seed] = min(good, key=lambda record: record["layers"])
        layers = [record["layers"] for record in smallest.values()]
        target = published.SMALLEST_LAYERS[name]
        row = [*_title(name, series), each(layers)]
        row += [each(f"{number - target:+d}" for number in layers)]
        row += [percent(series.summary(r, "test")) for r in (initial, smallest)]
        rows.append(row)
    return markdown_table(columns.split(","), rows)


def _same_size(found):
    """The section with the units left at the paper's number of layers."""
    rows = []
    for name, series in found:
        records = series.at(published.SMALLEST_LAYERS[name])
        if records:
            kept = [
                _slashed(kept_units(record).values()) for record in records.values()
            ]
            title, words, scale, _ = _title(name, series)
            row = [title, words, scale, str(len(records))]
            row += [str(published.SMALLEST_LAYERS[name]), each(kept)]
            row += [_slashed(published.SMALLEST_UNITS[name])]
            rows.append([*row, f"{100 * _chance(name):.1f} %"])
    if not rows:
        return []
    columns = "data set,run,scale,n,layers,units,units of the paper,by chance"
    return [
        "## Units at the paper's number of layers\n\n"
        "*Units of the paper*: inferred (see above). *By chance*: how often random "
        "removal leaves them.\n\n"
        f"{markdown_table(columns.split(','), rows)}"
    ]


def _chance(name):
    """Probability that random removal leaves the units that the paper's model has."""
    before, after = published.INITIAL_UNITS[name], published.SMALLEST_UNITS[name]
    # The first unit of a stage is not removable.
    ways = [math.comb(b - 1, b - a) for b, a in zip(before, after, strict=True)]
    removable = sum(before) - len(before)
    return math.prod(ways) / math.comb(removable, sum(before) - sum(after))


def _accuracy(found):
    columns = "data set,run,scale,n,selected on,accuracy on,initial,selected,change,"
    columns += "no loss"
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        theirs = published.INITIAL_ACCURACY.get(name, "only plotted")
        row = [published.TITLES[name], "paper", "-", "-", *[on_split("test")] * 2]
        rows.append([*row, str(theirs), "not lower", "-", "-"])
        for series in (series for other, series in found if other == name):
            initial, chosen = series.initial(), series.chosen()
            for split in dict.fromkeys(("test", series.split)):
                change = series.change(chosen, split)
                verdict = judged(no_drop, change, series.doubt(chosen, chosen=True))
                why = "-"
                if split == "test" and series.row.scale == "paper":
                    why = f"{verdict.state} ({verdict.reason})"
                rows.append(
                    [
                        *_title(name, series),
                        on_split(series.split),
                        on_split(split),
                        percent(series.summary(initial, split)),
                        percent(series.summary(chosen, split)),
                        points(change),
                        why,
                    ]
                )
    return markdown_table(columns.split(","), rows)


def _same_images(found):
    """The section that compares models image by image, if their images are known."""
    columns = "data set,run,scale,seed,layers,model,newly wrong,newly right,p"
    rows = []
    for name, series in found:
        for seed, run in series.runs.items():
            first, last = run.rounds[0], run.rounds[-1]
            for record in run.rounds[1:]:
                if record is not run.selected and record is not last:
                    continue
                if compared := same_images(first, record):
                    title, words, scale, _ = _title(name, series)
                    label = "selected" if record is run.selected else "last"
                    counts = (compared["newly_wrong"], compared["newly_right"])
                    row = [title, words, scale, str(seed), str(record["layers"]), label]
                    rows.append([*row, *map(str, counts), f"{compared['p']:.2g}"])
    if not rows:
        return []
    return [f"## Image by image\n\n{markdown_table(columns.split(','), rows)}"]


def _cost(found):
    columns = "data set,run,scale,n,epochs per round,epochs per seed,hours per seed,"
    columns += "hours in total,processor"
    rows = []
    for name, series in found:
        rounds = {r["epochs"] for run in series.runs.values() for r in run.rounds[1:]}
        seconds = series.spent("seconds").values()
        rows.append(
            [
                *_title(name, series),
                ", ".join(map(str, sorted(rounds))) or "-",
                each(series.spent("epochs").values()),
                hours(sum(seconds) / len(seconds)),
                hours(sum(seconds)),
                series.processors,
            ]
        )
    return markdown_table(columns.split(","), rows)


def _slashed(counts):
    return "/".join(map(str, counts))
