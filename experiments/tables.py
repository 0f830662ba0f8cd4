"""Tables of the committed records, as Markdown in docs/results.

    python -m experiments.tables

Reads `records` and writes `docs/results/records.md`. Imports no TensorFlow; nothing in
the output is typed by hand.
"""

import pathlib

from experiments.run_records import Run, wilson
from experiments.summary import percent, short

ROOT = pathlib.Path(__file__).parent.parent
RECORDS = ROOT / "records"
OUTPUT = ROOT / "docs" / "results" / "records.md"

_HEAD = """# What was run

Made by `python -m experiments.tables` from the records; do not edit. One line a record:
the initial net and the smallest net that held its accuracy on the split that selects
(±: half of the 95 % Wilson interval for the number of images). Accuracies in %. A
record's folder holds its flags, environment, rounds and report.

"""
_COLUMNS = (
    "record",
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
    for folder in folders:
        run = Run.read(folder)
        name = folder.relative_to(records).as_posix()
        rows.append([f"[{name}](../../records/{name})", *_cells(run, folder)])
        if run.final.get("note"):
            notes.append(f"- {name}: {run.final['note']}\n")
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *map(_line, rows)]
    table = "\n".join(lines) + "\n" if rows else "No record yet.\n"
    return _HEAD + table + ("\nNotes\n\n" + "".join(notes) if notes else "")


def _cells(run, folder):
    first, net = run.rounds[0], run.selected
    data = run.settings["dataset"]
    sessions = len((folder / "sessions.jsonl").read_text().splitlines())
    return [
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
        accuracy = run.accuracy(record, split)
        low, high = wilson(accuracy, run.examples(split))
        parts.append(f"{percent(accuracy)} ± {50 * (high - low):.2f}")
    return " → ".join(parts)


def _line(cells):
    return f"| {' | '.join(cells)} |"


def main():
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(records_page(), encoding="utf-8")
    print(f"{OUTPUT.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()
