"""Table 3: size of the original and the pruned models."""

from experiments.pages.library import short
from experiments.pages.results import Result, head, markdown_table
from experiments.paper import published
from experiments.paper.cost_records import all_models, counts, read_machines

_ABOUT = """Size of the original and the pruned models. The text of the paper gives no
numbers: it states that the pruned models have fewer parameters. Units are those that we
inferred for the paper's smallest models ([Table 2](table2.md)). Counts depend on the
architecture only, not on the training. Models of our runs appear once their files are
measured (`python -m experiments.costs`).

- *Parameters*: trainable ones, without ω; *%*: of the original model.
- *MACs*: multiply-accumulates of convolutions and dense layers for one image.
- *Weights*: everything stored as float32, with ω and moving statistics, in MB of
  1,000,000 bytes. *Folded*: of the exported model, with ω and BatchNormalization folded
  into the convolutions."""


def make(records):
    """The page; None without records."""
    machines, rows = read_machines(records), []
    if not machines:
        return None
    for model in all_models(records):
        if not (found := counts(machines, model)):
            continue
        title = published.TITLES[model.dataset]
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
    return Result("table3", f"{page}\n{table}")


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
