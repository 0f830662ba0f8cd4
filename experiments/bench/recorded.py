"""Speed of the training of recorded runs. Imports no framework."""

import statistics

from experiments.pages.cells import processor
from experiments.pages.library import RunRecords
from experiments.pages.results import markdown_table, with_range
from experiments.pages.scales import is_smoke_test

_ABOUT = """Time of an epoch in the runs on record, by the layers of the model. An epoch
includes shuffling, augmentation and metrics, but no evaluation. Medians over the epochs
of a round after its first, with the smallest and the largest in parentheses. *First*:
seconds of the first epoch of a round, with the compilation of its program or, if it was
compiled before, its loading.
"""
_COLUMNS = (
    "run,processor,backend,precision,layers,epochs,seconds per epoch,first,images/s"
)


def recorded_runs(records):
    """The section about recorded runs; empty if there are none.

    Args:
        records: folder of all records. Digits and smoke tests are left out, because
            their epochs are too short.
    """
    rows = []
    for path in sorted(records.glob("*/*/final.json")):
        name = path.parent.relative_to(records).as_posix()
        run = RunRecords.read(path.parent)
        if not (name.startswith("digits/") or is_smoke_test(name, run.scale)):
            rows += _rows(name, run)
    if not rows:
        return ""
    table = markdown_table(_COLUMNS.split(","), rows)
    return f"## Recorded runs\n\n{_ABOUT}\n{table}"


def _rows(name, run):
    recipe = run.settings["recipe"]
    batch = recipe.get("batch_size")
    if batch is None:  # trained with `FitData`, whose batches it does not state
        return
    images = run.settings["dataset"]["train"] // batch * batch
    for line in run.rounds:
        seconds = [
            epoch["seconds"]
            for epoch in run.history
            if epoch["round"] == line["round"] and "seconds" in epoch
        ]
        if len(seconds) < 2:
            continue
        first, *others = seconds
        yield [
            name,
            processor(run),
            run.settings["backend"],
            recipe["precision"],
            str(line["layers"]),
            str(len(others)),
            with_range(others, "{:.2f}"),
            f"{first:.1f}",
            f"{images / statistics.median(others):,.0f}",
        ]
