"""Table 2: what the smallest models cost, in % of the original ones."""

from experiments.pages.cells import on_split, signed
from experiments.pages.results import NotRun, Result, head, markdown_table
from experiments.pages.scales import WORDS
from experiments.paper import published
from experiments.paper.cost_records import (
    COMMAND,
    MEASURES,
    PAPER,
    all_models,
    counts,
    own_models,
    read_machines,
    share,
)
from experiments.paper.possible import impossible

_ABOUT = """Computational cost of the paper's smallest models, in % of the original
models. Differences are ours minus the paper's, in percentage points.

- The models have random weights and the *units* per stage that we inferred from the
  printed percentages. Agreement of the counts therefore confirms the counting
  convention by construction, not the outcome of training.
- *MACs*: multiply-accumulates of convolutions and dense layers. *Parameters*: trainable
  ones, without ω.
- *Forward*: a compiled inference call. *Folded*: of exported models, with ω and
  BatchNormalization folded into the convolutions. *Forward + backward*: a compiled
  training step without optimizer. The paper times back-propagation and does not state
  whether that includes the forward pass.
- *Ours*: ratio of mean times, as in the paper, whose batch size and timed device are
  unknown. *Paired*: median of the ratios of paired calls with the 10th and 90th
  percentiles, which is less sensitive to background load."""


def make(records):
    """The page; None without records."""
    machines, not_run = read_machines(records), NotRun()
    own, models = own_models(records), all_models(records)
    if not machines and not own:
        return None
    parts = [
        head("Table 2: computational cost", "table2", _ABOUT),
        "## Counts\n\n" + _counts_table(machines, not_run),
        _note(),
    ]
    if own:
        parts.append("## Models of our own runs\n\n" + _own_table(own))
    for machine in machines:
        runs = {t["runs"] for p in machine.pairs.values() for t in p["times"].values()}
        parts.append(
            f"## Times: {machine.title}\n\nOne pair of models each, "
            f"{' or '.join(map(str, sorted(runs)))} paired calls, in %.\n\n"
            f"{_times_table(machine, models, not_run)}\n{machine.about}"
        )
    return Result("table2", "\n".join(parts) + not_run.listing())


def _counts_table(machines, not_run):
    columns = ["data set", "layers", "units"]
    for name in ("MACs", "parameters"):
        columns += [f"{name}: paper", "ours", "difference"]
    rows = []
    for model in PAPER:
        found = counts(machines, model)
        layers = "-"
        if found:
            layers = " → ".join(
                str(found[name]["unfolded"]["layers"])
                for name in ("original", "shortened")
            )
        row = [published.TITLES[model.dataset], layers, model.title.split()[-1]]
        for key in ("macs", "parameters"):
            theirs = published.COSTS[model.dataset][key]
            odd = key in impossible(model.dataset)
            row.append(f"{theirs:.2f}" + (", not reproducible" if odd else ""))
            if found:
                ours = share(found, key)
                row += [f"{ours:.2f}", signed(ours - theirs)]
            else:
                row += [not_run.cell(COMMAND), "-"]
        rows.append(row)
    return markdown_table(columns, rows)


def _note():
    titles = {title for name, title in published.TITLES.items() if impossible(name)}
    return (
        f"Not reproducible ({', '.join(sorted(titles))}): "
        f"{published.NOT_REPRODUCIBLE_BECAUSE}.\n"
    )


def _own_table(own):
    """Counts come from the records of the runs: they need no measurement."""
    columns = ["record (n = 1)", "scale", "training images", "model", "layers", "MACs"]
    columns += ["parameters", "accuracy maintained", "change on test images, pp"]
    rows = []
    for name, (run, model) in own.items():
        first, last = run.rounds[0], run.selected
        maintained = "yes" if run.within_tolerance(last) else "no"
        tests = [run.monitored(record, "test") for record in (first, last)]
        rows.append(
            [
                f"[{name}](../../records/{name})",
                WORDS[run.scale],
                f"{run.settings['dataset']['train']:,}",
                model.title,
                f"{first['layers']} → {last['layers']}",
                f"{100 * last['macs'] / first['macs']:.2f}",
                f"{100 * last['parameters'] / first['parameters']:.2f}",
                f"{maintained}, on the {on_split(run.split)}",
                "-" if None in tests else f"{100 * (tests[1] - tests[0]):+.2f}",
            ]
        )
    return markdown_table(columns, rows)


def _times_table(machine, models, not_run):
    columns = ["model", "measured", "paper", "ours", "difference", "paired (p10-p90)"]
    rows = []
    for model in models:
        if model not in machine.pairs:
            continue
        for measure in MEASURES[model.dataset]:
            theirs = None
            if model in PAPER:
                what = "backward" if measure.backward else "forward"
                theirs = published.COSTS[model.dataset][what]
            row = [
                model.title,
                measure.title,
                "-" if theirs is None else f"{theirs:.2f}",
            ]
            times = machine.times(model, measure)
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
                    "-" if theirs is None else signed(ours - theirs),
                    f"{ratio['median']:.2f} ({ratio['p10']:.2f}-{ratio['p90']:.2f})",
                ]
            )
    return markdown_table(columns, rows)
