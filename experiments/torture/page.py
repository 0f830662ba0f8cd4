"""The page of the campaign. No TensorFlow."""

import collections
import json

from experiments.pages.results import RECORDS, NotRun, Result, head, markdown_table

COMMAND = "python -m experiments.torture"
_ABOUT = f"""`make torture` runs the package's commands under conditions in which
programs lose data, and compares what is left with the result of an undisturbed command:
records value by value, models weight by weight, LiteRT and ONNX files byte by byte. It
trains small models on scikit-learn's digits and takes about an hour on two processors.
The command of a single kind is `{COMMAND} --only=KIND`."""
_ABOUT_KINDS = {
    "kills": "A process is killed with SIGKILL at a random moment, or during or right "
    "after a random write, up to six times in a row; then the command is repeated. "
    "*State file*: every other process starts in an empty folder, with the state file "
    "alone.",
    "damage": "Each file of an interrupted run is damaged, and the command is "
    "repeated. It must report the file by name and continue once the file is "
    "restored, or reach the undisturbed result without it.",
    "disk": "The command writes to a disk that is too small. It must end with one "
    "sentence, and the same command must finish once there is room.",
    "writers": "The same command is started twice. One process must be refused, or "
    "both must be right.",
    "hostile files": "Files that try to run code, to write outside their folder, to "
    "read what lies there, or to take all memory. They must be refused, with at most "
    "500 MB more memory than a good file takes.",
}


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    not_run = NotRun()
    path = records / "torture" / "campaign.json"
    kinds = json.loads(path.read_text("utf-8"))["kinds"] if path.exists() else {}
    text = head("Kills, damage and hostile files", "torture", _ABOUT)
    rows = [_row(kind, kinds.get(kind), not_run) for kind in _ABOUT_KINDS]
    columns = ["kind", "cases", "processes killed", "right", "wrong", "minutes"]
    text += f"\n{markdown_table(columns, rows)}"
    for kind, about in _ABOUT_KINDS.items():
        if kind in kinds:
            text += f"\n## {kind.capitalize()}\n\n{about}\n\n{_cases(kinds[kind])}"
    return Result("torture", text + not_run.listing())


def _row(kind, record, not_run):
    if record is None:
        return [kind, not_run.cell(f'{COMMAND} --only="{kind}"'), *["-"] * 4]
    right = [case["right"] for case in record["cases"]]
    killed = sum(case.get("kills", 0) for case in record["cases"])
    return [
        kind,
        str(len(right)),
        str(killed) if killed else "-",
        str(sum(right)),
        str(len(right) - sum(right)),
        f"{record['seconds'] / 60:.0f}",
    ]


def _cases(record):
    """The cases of a kind, those that came to the same in one row."""
    found = collections.defaultdict(list)
    for case in record["cases"]:
        found[case["case"], case["outcome"], case["right"]].append(case.get("kills", 0))
    rows = []
    for (name, outcome, right), kills in found.items():
        times = f" ({len(kills)} times)" if len(kills) > 1 else ""
        killed = f", {sum(kills)} processes killed" if sum(kills) else ""
        result = outcome if right else f"**wrong**: {outcome}"
        rows.append([f"{name}{times}{killed}", result])
    facts = record["environment"]
    return (
        f"{markdown_table(['case', 'outcome'], rows)}\nSeed {record['seed']}; "
        f"{facts['cpu']}, {facts['cores']} processors, Keras {facts['keras']}, "
        f"{facts['backend']}.\n"
    )
