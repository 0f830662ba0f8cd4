"""Table 1: layers left in each stage of the smallest nets that kept the accuracy."""

from experiments.pages.cells import each, hours, on_split, percent, points
from experiments.pages.differences import MARGIN, judged, no_drop, summarize
from experiments.pages.results import RECORDS, markdown_table
from experiments.paper import published
from experiments.paper.rows import CHAINS
from experiments.paper.series import kept_units
from experiments.paper.sources import Sources

_ABOUT = f"""The smallest net of each run whose accuracy was at least the initial one
on the split that selects: images held out of training, or the test set as in the
paper, where a row says so.

- *units*: residual units left in each stage, with the number of seeds in brackets; a
  unit is three convolutions. The paper's are inferred from its Table 2, for its text
  tells no more than their sum. *Difference*: layers, ours less the paper's.
- *accuracies* in %: mean ± standard deviation over n seeds. *Change*: of the same seed,
  chosen net less initial net, mean and 95 % t interval in points. On held-out images
  that select, it cannot be negative; the test set judges.
- *no loss*: whether the interval on the test set lies above -{100 * MARGIN:g} points
  (holds), below (does not hold), or neither (open)."""


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    return sources.result(
        "Table 1: layers left without loss of accuracy",
        "table1",
        _ABOUT,
        f"## Layers\n\n{_layers(sources)}",
        f"## Accuracy\n\n{_accuracy(sources)}",
        f"## Cost\n\n{_cost(sources)}",
    )


def _rows(sources):
    """`(data set, series)` of every row."""
    return [
        (name, sources.series(run)) for name, runs in CHAINS.items() for run in runs
    ]


def _title(name, series):
    run = series.row.run
    return [published.TITLES[name], f"{run}: {CHAINS[name][run]}"]


def _layers(sources):
    columns = "data set,net,units before,units after,convolutions after,layers before,"
    columns += "layers after,difference"
    rows = []
    for name, series in _rows(sources):
        target = published.SMALLEST_LAYERS[name]
        before, after = published.INITIAL_UNITS[name], published.SMALLEST_UNITS[name]
        if series.row.run == next(iter(CHAINS[name])):
            row = [published.TITLES[name], "paper", _slashed(before), _slashed(after)]
            row += [_slashed([3 * count for count in after])]
            rows.append([*row, str(3 * sum(before) + 2), str(target), "-"])
        if not series.runs:
            rows.append([*_title(name, series), *sources.gap(series, 6)])
            continue
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


def _accuracy(sources):
    columns = "data set,run,selected on,accuracy on,initial,chosen,change,no loss"
    rows = []
    for name, series in _rows(sources):
        title = _title(name, series)
        if series.row.run == next(iter(CHAINS[name])):
            theirs = published.INITIAL_ACCURACY.get(name, "only drawn")
            row = [
                published.TITLES[name],
                "paper",
                *[on_split("test")] * 2,
                str(theirs),
            ]
            rows.append([*row, "not lower", "-", "-"])
        if not series.runs:
            rows.append([*title, *sources.gap(series, 5), "open (not run)"])
            continue
        initial, chosen = series.initial(), series.chosen()
        for split in dict.fromkeys(("test", series.split)):
            change = series.change(chosen, split)
            verdict = judged(no_drop, change, series.doubt(chosen, chosen=True))
            why = f"{verdict.state} ({verdict.reason})" if split == "test" else "-"
            rows.append(
                [
                    *title,
                    on_split(series.split),
                    on_split(split),
                    percent(summarize(series.accuracies(initial, split).values())),
                    percent(summarize(series.accuracies(chosen, split).values())),
                    points(change),
                    why,
                ]
            )
    return markdown_table(columns.split(","), rows)


def _cost(sources):
    columns = "data set,run,seeds,epochs a round,epochs of a seed,hours of a seed,"
    columns += "hours in all,processor"
    rows = []
    for name, series in _rows(sources):
        title = _title(name, series)
        if not series.runs:
            rows.append([*title, *sources.gap(series, 6)])
            continue
        rounds = {r["epochs"] for run in series.runs.values() for r in run.rounds[1:]}
        seconds = series.spent("seconds").values()
        rows.append(
            [
                *title,
                str(len(series.runs)),
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
