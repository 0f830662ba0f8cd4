"""Table 2: what the smallest nets cost, in % of the original ones."""

from experiments.pages.cells import on_split
from experiments.pages.results import RECORDS, NotRun, Result, head, markdown_table
from experiments.paper import published
from experiments.paper.cost_records import (
    COMMAND,
    MEASURES,
    PAPER,
    all_nets,
    counts,
    own_nets,
    read_machines,
    share,
)

_ABOUT = """Computational cost of the smallest nets, in % of the original nets;
differences in points, ours less the paper's. Counts follow from the nets alone; times
were measured side by side, the two nets of a pair in turns, 100 calls each unless the
command says otherwise.

- *MACs*: multiply-accumulates of convolutions and dense layers. *Parameters*:
  trainable ones, without ω.
- *units*: residual units of each stage. The paper's text does not tell them; they are
  inferred from its Table 2.
- *forward*: a compiled inference call; *folded*: of the nets as exported, ω and
  BatchNormalization within the convolutions, both nets alike. *forward + backward*: a
  training step without its optimizer. The paper times back-propagation and does not
  say whether the forward pass it needs is within; here it is, for one compiled step
  does both.
- *ours*: ratio of the mean times, as in the paper, whose machine and batch size are
  not ours. *turn by turn*: median of the ratios of single turns, with their 10th and
  90th percentiles; of the two it suffers less from other work on the machine."""


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    machines, not_run = read_machines(records), NotRun()
    parts = [
        head("Table 2: computational cost", "table2", _ABOUT),
        "## Counts\n\n" + _counts_table(machines, not_run),
        _note(),
        "## Nets of our own runs\n\n" + _own_table(own_nets(records)),
    ]
    nets = all_nets(records)
    for machine in machines:
        parts.append(
            f"## Times: {machine.title}\n\n"
            f"{_times_table(machine, nets, not_run)}\n{machine.about}\n"
        )
    if not machines:
        parts.append(f"## Times\n\n{_times_table(None, nets, not_run)}")
    return Result("table2", "\n".join(parts) + not_run.listing())


def _counts_table(machines, not_run):
    columns = ["data set", "layers", "units"]
    for name in ("MACs", "parameters"):
        columns += [f"{name}: paper", "ours", "difference"]
    rows = []
    for net in PAPER:
        found = counts(machines, net)
        layers = "-"
        if found:
            layers = " → ".join(
                str(found[name]["unfolded"]["layers"])
                for name in ("original", "shortened")
            )
        row = [published.TITLES[net.dataset], layers, net.title.split()[-1]]
        for key in ("macs", "parameters"):
            theirs = published.COSTS[net.dataset][key]
            odd = (net.dataset, key) in published.NOT_REPRODUCIBLE
            row.append(f"{theirs:.2f}" + (", not reproducible" if odd else ""))
            if found:
                ours = share(found, key)
                row += [f"{ours:.2f}", _difference(ours, theirs)]
            else:
                row += [not_run.cell(COMMAND), "-"]
        rows.append(row)
    return markdown_table(columns, rows)


def _note():
    titles = {published.TITLES[name] for name, _ in published.NOT_REPRODUCIBLE}
    return (
        f"Not reproducible ({', '.join(sorted(titles))}): "
        f"{published.NOT_REPRODUCIBLE_BECAUSE}.\n"
    )


def _own_table(own):
    """Counts come from the records of the runs: they need no measurement."""
    columns = ["record", "training images", "net", "layers", "MACs", "parameters"]
    columns += ["accuracy kept"]
    rows = []
    for name, (run, net) in own.items():
        first, last = run.rounds[0], run.selected
        rows.append(
            [
                f"[{name}](../../records/{name})",
                f"{run.settings['dataset']['train']:,}",
                net.title,
                f"{first['layers']} → {last['layers']}",
                f"{100 * last['macs'] / first['macs']:.2f}",
                f"{100 * last['parameters'] / first['parameters']:.2f}",
                run.final.get("note") or _kept(run, last),
            ]
        )
    if not rows:
        return "No run that starts from the paper's nets is on record yet.\n"
    return markdown_table(columns, rows)


def _kept(run, record):
    """Whether the split that selects says so; the test set judges in Table 1."""
    return f"{'yes' if run.holds(record) else 'no'}, by the {on_split(run.split)}"


def _times_table(machine, nets, not_run):
    columns = ["net", "what", "paper", "ours", "difference", "turn by turn (p10-p90)"]
    rows = []
    for net in nets:
        for measure in MEASURES[net.dataset]:
            theirs = None
            if net in PAPER:
                what = "backward" if measure.backward else "forward"
                theirs = published.COSTS[net.dataset][what]
            row = [net.title, measure.title, "-" if theirs is None else f"{theirs:.2f}"]
            times = machine and machine.times(net, measure)
            if not times:
                rows.append([*row, not_run.cell(COMMAND), "-", "-"])
                continue
            means = [times[name]["mean_ms"] for name in ("shortened", "original")]
            ours = 100 * means[0] / means[1]
            ratio = {key: 100 * value for key, value in times["ratio"].items()}
            rows.append(
                [
                    *row,
                    f"{ours:.2f}",
                    "-" if theirs is None else _difference(ours, theirs),
                    f"{ratio['median']:.2f} ({ratio['p10']:.2f}-{ratio['p90']:.2f})",
                ]
            )
    return markdown_table(columns, rows)


def _difference(ours, theirs):
    return f"{round(ours - theirs, 2) + 0.0:+.2f}"  # + 0.0: no "-0.00"
