"""Controls: what of the result is due to the method, and what to training for long."""

from experiments.cells import each, hours, percent, points
from experiments.differences import judged, no_drop, pair, summarize
from experiments.results import RECORDS, markdown_table
from experiments.sources import Sources

MAIN = "c10-main"
# Experiments that go on from the initial nets of the main one, or train once.
CONTROLS = {
    "c10-scratch-e": "the chosen net from scratch, for as many epochs",
    "c10-scratch-b": "the chosen net from scratch, for as much compute",
    "c10-full": "the full net, for as many epochs",
    "c10-random": "random units removed",
    "c10-largest": "units with the largest |ω| removed",
    "c10-small-lr": "retrained from a small learning rate",
}
BEYOND = {
    "c10-guided": "cosine schedule, initial net as teacher, Taylor scores",
    "c10-cosine": "cosine schedule alone",
}
# Whose smallest nets are of interest; the last one starts from another net.
_HELD = (MAIN, *BEYOND, "c10-basic")
_ABOUT = """CIFAR-10. Every experiment is compared with the main one, c10-main, at the
net that the main one chose with the same seed: the same number of layers, or the one
net that the control trains.

- *accuracy* on the test set in %: mean ± standard deviation over n seeds.
- *less the main one's*: differences of the same seed in points, mean and 95 % t
  interval. One that holds 0 leaves open which is better.
- *epochs*, *hours* of a seed: what it took to that net, the initial training included;
  hours are of the processor that is named.
- Nets from scratch have no ω; the full net is trained in one go, without restarts.
- *smallest nets that held*: on the split that selects, which is held-out images unless
  its command says otherwise; *change* from the initial net of the same seed, on the
  test set. c10-basic starts from the field's common net, of basic units."""


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    main = {MAIN: "the main experiment"}
    return sources.result(
        "Controls, and beyond the paper",
        "controls",
        _ABOUT,
        f"## Controls\n\n{_table(sources, main | CONTROLS)}",
        f"## Beyond the paper\n\n{_table(sources, main | BEYOND)}",
        f"## Smallest nets that held\n\n{_held(sources)}",
    )


def compared(main, series):
    """The records of a series to hold against the nets that another one chose.

    Args:
        main: the `Series` that chose.
        series: the other `Series`.

    Returns:
        A dict by seed: the round with as many layers as the chosen net of that seed,
        or the only one there is. Seeds that lack it are left out.
    """
    layers = {seed: record["layers"] for seed, record in main.chosen().items()}
    only = {
        seed: run.rounds[0]
        for seed, run in series.runs.items()
        if len(run.rounds) == 1 and seed in layers
    }
    return {**series.at(layers), **only}


def difference(main, series):
    """`Paired` test accuracies of a series less those of the main one's nets."""
    return pair(
        series.accuracies(compared(main, series)), main.accuracies(main.chosen())
    )


def _table(sources, runs):
    columns = (
        "experiment,what is done,layers,accuracy,less the main one's,epochs,hours,"
    )
    columns += "processor"
    main, rows = sources.series(MAIN), []
    for run, what in runs.items():
        series = sources.series(run)
        found = compared(main, series)
        if not found:
            lacking = series if not series.runs else main
            cells = sources.gap(lacking, 6) if not lacking.runs else ["-"] * 6
            rows.append([run, what, *cells])
            continue
        seconds = series.spent("seconds", found).values()
        rows.append(
            [
                run,
                what,
                each(record["layers"] for record in found.values()),
                percent(summarize(series.accuracies(found).values())),
                "-" if run == MAIN else points(difference(main, series)),
                each(series.spent("epochs", found).values()),
                hours(sum(seconds) / len(seconds)),
                series.processors,
            ]
        )
    return markdown_table(columns.split(","), rows)


def _held(sources):
    columns = (
        "experiment,layers before,layers after,MACs %,parameters %,initial,chosen,"
    )
    columns += "change,no loss,epochs"
    rows = []
    for run in _HELD:
        series = sources.series(run)
        if not series.runs:
            rows.append([run, *sources.gap(series, 9)])
            continue
        first, chosen = series.initial(), series.chosen()
        change = series.change(chosen)
        left = [
            each(f"{100 * chosen[seed][key] / first[seed][key]:.1f}" for seed in chosen)
            for key in ("macs", "parameters")
        ]
        rows.append(
            [
                run,
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
