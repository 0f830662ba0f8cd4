"""Table 3: size of the original and the pruned models."""

from experiments.pages.library import short
from experiments.pages.results import NotRun, Result, head, markdown_table
from experiments.paper import published
from experiments.paper.cost_records import (
    COMMAND,
    PAPER,
    all_models,
    counts,
    own_models,
    read_machines,
)

_ABOUT = """Size of the original and the pruned models. The text of the paper gives no
numbers: it states that the pruned models have fewer parameters. Units are those that we
inferred for the paper's smallest models ([Table 2](table2.md)). Counts depend on the
architecture only, not on the training.

- *Parameters*: trainable ones, without ω; *%*: of the original model.
- *MACs*: multiply-accumulates of convolutions and dense layers for one image.
- *Weights*: everything stored as float32, with ω and moving statistics, in MB of
  1,000,000 bytes. *Folded*: of the exported model, with ω and BatchNormalization folded
  into the convolutions."""


def make(records):
    """The page; None without records."""
    machines, not_run = read_machines(records), NotRun()
    models, own = all_models(records), own_models(records)
    if not machines and models == [*PAPER]:
        return None
    rows = []
    for model in models:
        found = counts(machines, model)
        title = published.TITLES[model.dataset]
        if not found:  # the sizes of the files are not measured yet
            cell = not_run.cell(COMMAND)
            rows.append([title, *_of_run(model, own), cell, cell])
            continue
        for name in ("original", "shortened"):
            row = [
                title,
                *_cells(model, name, found[name], found["original"]["unfolded"]),
            ]
            if row not in rows:  # models of one data set share their original
                rows.append(row)
    columns = "data set,units,layers,parameters,%,MACs,%,weights,folded"
    table = markdown_table(columns.split(","), rows)
    page = head("Table 3: parameters", "table3", _ABOUT)
    return Result("table3", f"{page}\n{table}{not_run.listing()}")


def _of_run(model, own):
    """Units and counts of a model that one of our runs selected."""
    units = model.title.split()[-1]
    run = next((run for run, selected in own.values() if selected == model), None)
    if run is None:
        return [units, *["-"] * 5]
    first, last = run.rounds[0], run.selected
    shares = {key: 100 * last[key] / first[key] for key in ("parameters", "macs")}
    return [
        units,
        str(last["layers"]),
        f"{last['parameters']:,}",
        f"{shares['parameters']:.2f}",
        short(last["macs"]),
        f"{shares['macs']:.2f}",
    ]


def _cells(model, name, found, original):
    units = (
        model.units if name == "shortened" else published.INITIAL_UNITS[model.dataset]
    )
    plain = found["unfolded"]
    return [
        "/".join(map(str, units)),
        str(plain["layers"]),
        f"{plain['parameters']:,}",
        f"{100 * plain['parameters'] / original['parameters']:.2f}",
        short(plain["macs"]),
        f"{100 * plain['macs'] / original['macs']:.2f}",
        *(f"{4e-6 * found[kind]['weights']:.2f} MB" for kind in ("unfolded", "folded")),
    ]
