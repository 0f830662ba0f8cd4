"""The page of all committed records. No TensorFlow."""

import collections
import re

from experiments.pages import cells
from experiments.pages.differences import MARGIN, no_drop, pair, summarize
from experiments.pages.results import RECORDS, markdown_table
from experiments.pages.run_records import RunRecords, percent, short, wilson
from experiments.pages.scales import check_scale

_HEAD = """# What was run

Made by `make reproduce-records` from the records; do not edit. One line a record:
the initial net and the smallest net that held its accuracy on the split that selects
(±: half of the 95 % Wilson interval for the number of images). Accuracies in %.
*Scale*: "paper" means the epochs that the flags state, "quarter" a quarter of them. A
record's folder holds its flags, environment, rounds and report.

"""
_OVER_SEEDS = f"""Test accuracies in %: mean ± standard deviation over n seeds.
*Change*: chosen less initial net of the same seed in points, mean and 95 % t interval;
*no loss* holds if the interval lies above -{100 * MARGIN:g} points, does not if it lies
below, and is open otherwise. Layers and MACs with the number of seeds in brackets.
"""
_COLUMNS = (
    "record",
    "scale",
    "data (train / selection / test)",
    "layers",
    "units",
    "MACs",
    "parameters",
    "selected on",
    "selection accuracy",
    "test accuracy",
    "epochs",
    "minutes",
    "sessions",
    "processor",
)


def records_page(records=RECORDS):
    """The page as text.

    Args:
        records: folder with `<experiment>/<row>/final.json` and the rest of a record.
    """
    folders = sorted(path.parent for path in records.glob("*/*/final.json"))
    rows, notes = [], []
    begun = _in_progress(records)
    for folder in folders:
        run = RunRecords.read(folder)
        name = folder.relative_to(records).as_posix()
        check_scale(name, run.scale)
        rows.append([f"[{name}](../../records/{name})", *_cells(run, folder)])
        if run.final.get("note"):
            notes.append(f"- {name}: {run.final['note']}\n")
    if not rows:
        return "\n".join([_HEAD + "No record yet.\n", *begun])
    parts = [_HEAD + markdown_table(_COLUMNS, rows), *begun]
    if seeds := over_seeds(records):
        parts.append(f"## Over seeds\n\n{_OVER_SEEDS}\n{seeds}")
    if notes:
        parts.append("Notes\n\n" + "".join(notes))
    return "\n".join(parts)


def _in_progress(records):
    """The finished rounds of unfinished runs, as a list of one part or none."""
    rows = []
    for path in sorted(records.glob("*/*/rounds.jsonl")):
        folder = path.parent
        if not (folder / "final.json").is_file():
            run = RunRecords.read(folder)
            name = folder.relative_to(records).as_posix()
            check_scale(name, run.scale)
            link = f"[{name}](../../records/{name})"
            for r in run.rounds:
                cells_of = [str(r["round"]), str(r["layers"]), str(r["epochs"])]
                accuracy = run.show(run.watched(r, "test"))
                rows.append([link, run.scale, *cells_of, accuracy])
    if not rows:
        return []
    columns = ("record", "scale", "round", "layers", "epochs", "test accuracy")
    return [
        "## In progress\n\nFinished rounds of unfinished runs. No mean and no claim "
        f"uses them.\n\n{markdown_table(columns, rows)}"
    ]


def over_seeds(records=RECORDS, without=()):
    """A table of the runs that are on record with two seeds or more; "" without any.

    Args:
        records: as for `records_page`.
        without: names of runs to leave out, such as `"c10-main"`.
    """
    groups = collections.defaultdict(dict)
    for path in sorted(records.glob("*/*/final.json")):
        name = path.parent.relative_to(records).as_posix()
        match = re.fullmatch(r"(.+/(.+))-seed(\d+)", name)
        if match and match[2] not in without:
            groups[match[1]][int(match[3])] = RunRecords.read(path.parent)
    rows = [_seeds_cells(name, runs) for name, runs in groups.items() if len(runs) > 1]
    columns = ("run", "seeds", "layers", "MACs %", "initial", "chosen", "change")
    columns += ("no loss", "epochs", "minutes")
    return markdown_table(columns, rows) if rows else ""


def _seeds_cells(name, runs):
    firsts = {seed: run.rounds[0] for seed, run in runs.items()}
    chosen = {seed: run.selected for seed, run in runs.items()}
    before, after = (
        {
            seed: accuracy
            for seed, record in found.items()
            if (accuracy := runs[seed].watched(record, "test")) is not None
        }
        for found in (firsts, chosen)
    )
    change = pair(after, before)
    left = (100 * chosen[seed]["macs"] / firsts[seed]["macs"] for seed in runs)
    layers = (
        cells.each(record["layers"] for record in found.values())
        for found in (firsts, chosen)
    )
    minutes = summarize(run.final["total_seconds"] / 60 for run in runs.values())
    records = ", ".join(
        f"[{seed}](../../records/{name}-seed{seed})" for seed in sorted(runs)
    )
    return [
        name,
        records,
        " → ".join(layers),
        cells.each(f"{share:.1f}" for share in left),
        cells.percent(summarize(before.values())),
        cells.percent(summarize(after.values())),
        cells.points(change),
        no_drop(change).state,
        cells.each(run.final["total_epochs"] for run in runs.values()),
        f"{minutes.mean:.1f}",
    ]


def _cells(run, folder):
    first, net = run.rounds[0], run.selected
    data = run.settings["dataset"]
    sessions = len((folder / "sessions.jsonl").read_text().splitlines())
    return [
        run.scale,
        f"{data['name']} ({data['train']:,} / {data[run.split]:,} / {data['test']:,})",
        f"{first['layers']} → {net['layers']}",
        f"{len(first['units'])} → {len(net['units'])}",
        f"{short(first['macs'])} → {100 * net['macs'] / first['macs']:.1f} %",
        f"{short(first['parameters'])} → "
        f"{100 * net['parameters'] / first['parameters']:.1f} %",
        "test set" if run.split == "test" else "held-out images",
        _accuracies(run, run.split),
        _accuracies(run, "test"),
        str(run.final["total_epochs"]),
        f"{run.final['total_seconds'] / 60:.1f}",
        str(sessions),
        f"{run.environment['cpu']}, {run.environment['cores']} cores, "
        f"{run.settings['backend']}",
    ]


def _accuracies(run, split):
    parts = []
    for record in (run.rounds[0], run.selected):
        accuracy = run.watched(record, split)
        low, high = wilson(accuracy, run.examples(split))
        parts.append(f"{percent(accuracy)} ± {50 * (high - low):.2f}")
    return " → ".join(parts)
