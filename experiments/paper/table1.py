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
from experiments.pages.differences import MARGIN, image_by_image, judged, no_drop
from experiments.pages.results import markdown_table
from experiments.pages.scales import WORDS
from experiments.paper import published
from experiments.paper.possible import impossible
from experiments.paper.rows import PRUNING_RUNS
from experiments.paper.series import kept_units
from experiments.paper.sources import Sources

_ABOUT = f"""The smallest model of each pruning run whose accuracy was at least the
initial one on the images that select: held-out images, or the test set as in the paper.

- *Units*: residual units left in each stage; a unit has three convolutions.
  {COUNTED_SEEDS}. The paper states only the layers; we inferred its units from its
  Table 2. *Difference*: our layers minus the paper's.
- *Closest smaller model*: the one that misses the initial accuracy by the fewest
  images, and their number.
- *Initial*, *selected*: accuracy in %, mean ± standard deviation over n seeds.
  *Change*: selected minus initial model of the same seed in percentage points, mean
  [95 % t interval]. It cannot be negative on the images that select the model, so the
  test set decides.
- *No loss*: the interval on the test set lies above -{100 * MARGIN:g} percentage points
  (holds), below (does not hold), or neither (open). It is open until all planned seeds
  are on record."""
_ON_TEST = """The smallest model whose accuracy on the test set was at least the initial
one there, which is how the paper selects. Its accuracy on the test set cannot show a
loss.
"""
_IMAGES = """Images that the pruned model alone classifies wrongly or correctly,
compared with the initial model of the same run, and p of McNemar's exact test. The test
compares two trained models; it does not show what another seed would give. The target
of a run fixed its last model beforehand, so test and held-out images are also tested
together for this model.
"""
_NOTES = """- *Scale*: full length is the paper's initial training, 200 epochs on CIFAR
  and 90 on ImageNet. Our CIFAR models train on 45,000 images, because 5,000 are held
  out; the paper states no such split. Runs of different scales are never averaged. A
  quarter of the epochs does not train to convergence, so further training alone can
  raise the accuracy: there is no verdict on the loss, and [the controls](controls.md)
  compare runs of equal epochs.
- The target of a run limits the difference: the runs of 60 epochs per round (15 at a
  quarter) end at the paper's number of layers, and only those with its setting go on
  to 11.
- On ImageNet, the first stage has two removable units, too few for p < 0.05 in one
  model: if both were removed, p would be {imagenet:.2f}.
"""
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
        f"## Selected on the test set, as in the paper\n\n{_ON_TEST}\n"
        f"{_as_in_paper(found)}",
        *_same_size(found),
        f"## Accuracy\n\n{_accuracy(found)}",
        *_same_images(found),
        f"## Cost\n\n{_cost(found)}",
        f"## Notes\n\n{_NOTES.format(imagenet=_least_imagenet())}",
    )


def _least_imagenet():
    """p of the first stage of one ImageNet model that loses all it can there."""
    before = published.INITIAL_UNITS["imagenet2012"]
    removed = sum(before) - sum(published.SMALLEST_UNITS["imagenet2012"])
    removable = sum(before) - len(before)
    # The first unit of the first stage stays, the others of that stage are removed.
    first = before[0] - 1
    others = math.comb(removable - first, removed - first)
    return others / math.comb(removable, removed)


def _title(name, series):
    row = series.row
    label = PRUNING_RUNS[name][row.run].removesuffix(f", {WORDS[row.scale]}")
    words = f"{row.run}: {label}"
    return [published.TITLES[name], words, WORDS[row.scale], str(len(series.runs))]


def _layers(found):
    columns = "data set,run,scale,n,units before,units after,convolutions after,"
    columns += "layers before,layers after,difference,closest smaller model"
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        target = published.SMALLEST_LAYERS[name]
        before, after = published.INITIAL_UNITS[name], published.SMALLEST_UNITS[name]
        row = [published.TITLES[name], "paper", "-", "-"]
        row += [_slashed(before), inferred(name)]
        row += [_slashed([3 * count for count in after]), str(3 * sum(before) + 2)]
        rows.append([*row, str(target), "-", "-"])
        for series in (series for other, series in found if other == name):
            chosen = series.chosen().values()
            kept = [list(kept_units(record).values()) for record in chosen]
            first = series.initial().values()
            rows.append(
                [
                    *_title(name, series),
                    each(map(units_left, first)),
                    each(map(_slashed, kept)),
                    each(_slashed(3 * count for count in counts) for counts in kept),
                    each(record["layers"] for record in first),
                    each(record["layers"] for record in chosen),
                    each(f"{record['layers'] - target:+d}" for record in chosen),
                    each(
                        _closest(run, run.selected, run.split)
                        for run in series.runs.values()
                    ),
                ]
            )
    return markdown_table(columns.split(","), rows)


def _as_in_paper(found):
    """The smallest model of each seed that is as accurate on the test set."""
    columns = "data set,run,scale,n,layers,difference,closest smaller model,initial,"
    columns += "selected"
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
        row += [each(_closest(series.runs[s], r, "test") for s, r in smallest.items())]
        row += [percent(series.summary(r, "test")) for r in (initial, smallest)]
        rows.append(row)
    return markdown_table(columns.split(","), rows)


def _closest(run, selected, split):
    """The smaller model that misses the initial accuracy by the fewest images."""
    first, images = run.monitored(run.rounds[0], split), run.examples(split)
    if images is None:
        return "-"
    missed = [
        (round(images * (first - accuracy)), record["layers"])
        for record in run.rounds
        if record["layers"] < selected["layers"]
        and (accuracy := run.monitored(record, split)) is not None
    ]
    if not missed:
        return "-"
    number, layers = min(missed)
    return f"{layers} layers: {number:,} of {images:,}"


def _same_size(found):
    """The section with the units left at the paper's number of layers."""
    rows = []
    for name, series in found:
        records = series.at(published.SMALLEST_LAYERS[name])
        if records:
            kept = map(units_left, records.values())
            title, words, scale, _ = _title(name, series)
            row = [title, words, scale, str(len(records))]
            row += [str(published.SMALLEST_LAYERS[name]), each(kept)]
            row += [inferred(name)]
            rows.append([*row, f"{100 * by_chance(name):.1f} %"])
    if not rows:
        return []
    columns = "data set,run,scale,n,layers,units,paper's units (inferred),by chance"
    return [
        "## Units at the paper's number of layers\n\n"
        "*By chance*: how often random removal leaves the paper's units.\n\n"
        f"{markdown_table(columns.split(','), rows)}"
    ]


def units_left(record):
    """The units of a round by stage, such as `"1/5/4"`."""
    return _slashed(kept_units(record).values())


def inferred(name):
    """The units that we infer for the paper's smallest model."""
    note = " (nearest; none fits)" if impossible(name) else ""
    return f"{_slashed(published.SMALLEST_UNITS[name])}{note}"


def by_chance(name):
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
    columns = "data set,run,scale,seed,layers,model,images,newly wrong,newly right,p"
    rows = []
    for name, series in found:
        for seed, run in series.runs.items():
            first, last = run.rounds[0], run.rounds[-1]
            for record in run.rounds[1:]:
                if record is not run.selected and record is not last:
                    continue
                title, words, scale, _ = _title(name, series)
                label = "last" if record is last else "selected"
                if record is last is run.selected:
                    label = "selected, last"
                row = [title, words, scale, str(seed), str(record["layers"]), label]
                # Held-out images may have selected a model, but not the last one.
                pairs = image_by_image(first, record, selected=record is not last)
                rows += [[*row, *cells] for cells in pairs]
    if not rows:
        return []
    table = markdown_table(columns.split(","), rows)
    return [f"## Image by image\n\n{_IMAGES}\n{table}"]


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
