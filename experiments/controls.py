"""Controls: what of the result is due to the method, and what to training for long."""

from experiments.cells import each, hours, percent, points
from experiments.differences import pair, summarize
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
_ABOUT = """CIFAR-10. Every experiment is compared with the main one, c10-main, at the
net that the main one chose with the same seed: the same number of layers, or the one
net that the control trains.

- *accuracy* on the test set in %: mean ± standard deviation over n seeds.
- *less the main one's*: differences of the same seed in points, mean and 95 % t
  interval. One that holds 0 leaves open which is better.
- *epochs*, *hours* of a seed: what it took to that net, the initial training included;
  hours are of the processor that is named."""


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
