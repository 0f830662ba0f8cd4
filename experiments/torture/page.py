"""The page of the campaign. No TensorFlow."""

import collections
import json

from experiments.pages.library import counted
from experiments.pages.results import NotRun, Result, head, markdown_table
from experiments.torture.case import SAME

COMMAND = "python -m experiments.torture"
_PLACE = "torture/campaign.json"
_ABOUT = f"""Whether the package loses or corrupts results when its commands are killed,
its files are damaged, the disk is full, two processes write at once, or a file is
hostile. Results are compared with those of an undisturbed command: records value by
value, models weight by weight, LiteRT and ONNX files byte by byte.

`make torture` trains small models on scikit-learn's digits; `{COMMAND} --only=KIND`
runs one kind. [The record](../../records/{_PLACE}) has the whole outcome of every case
with its error message."""
_REQUIRED = {
    "kills": "A process is killed with SIGKILL at a random moment, or during or right "
    "after a random write, up to six times in a row. The repeated command must reach "
    "the undisturbed result. *State file*: every other process starts in an empty "
    "folder with the state file alone.",
    "damage": "A file of an interrupted run is cut, emptied, overwritten or restored. "
    "The repeated command must name the damaged file, or reach the undisturbed result "
    "without it.",
    "disk": "The disk is too small. The command must end with one error message, and "
    "must finish once there is enough space.",
    "writers": "The same command is started twice. One process must be refused, or "
    "both results must be right.",
    "hostile files": "Files try to run code, to write or read outside their folder, or "
    "to exhaust the memory. They must be refused or harmless, and reading one may take "
    "at most 500 MB more memory than reading a good file.",
}
# The name of a case begins with its subject, which ends before this text.
_ENDS = {"damage": " ", "disk": ",", "writers": ",", "hostile files": ":"}
_OUTCOMES = {
    "refused": "refused with an error",
    SAME: SAME,
    "harmless": "otherwise right",
}


def make(records):
    """The page; None without records."""
    path = records / _PLACE
    kinds = json.loads(path.read_text("utf-8"))["kinds"] if path.exists() else {}
    if not kinds:
        return None
    not_run = NotRun()
    text = head("Kills, damage and hostile files", "torture", _ABOUT)
    rows = [_row(kind, kinds.get(kind), not_run) for kind in _REQUIRED]
    columns = ["kind", "cases", "processes killed", "as required", "wrong", "minutes"]
    text += f"\n## Summary\n\n{markdown_table(columns, rows)}"
    text += "\n## What is required\n\n"
    for kind, required in _REQUIRED.items():
        text += f"- *{kind.capitalize()}*: {required}\n"
    text += f"\n## Outcomes\n\n{_outcomes(kinds)}"
    if "hostile files" in kinds:
        text += f"\n## Hostile files\n\n{_hostile(kinds['hostile files'])}"
    text += f"\n{_environments(kinds)}"
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


def _outcomes(kinds):
    """Numbers of cases by subject, and the wrong cases in full."""
    rows, wrong = [], []
    for kind in _REQUIRED:
        counts = collections.defaultdict(collections.Counter)
        for case in kinds.get(kind, {"cases": []})["cases"]:
            subject = case["case"].split(_ENDS.get(kind, "\n"))[0]
            outcome = case["outcome"].split(":")[0] if case["right"] else "wrong"
            counts[subject][outcome] += 1
            if not case["right"]:
                wrong.append(
                    f"- **Wrong**: {kind}, {case['case']}: {case['outcome']}\n"
                )
        for subject, found in counts.items():
            known = [found[outcome] for outcome in _OUTCOMES]
            numbers = [found.total(), *known, found["wrong"]]
            rows.append([kind, subject, *(str(n) if n else "-" for n in numbers)])
    columns = ["kind", "subject", "cases", *_OUTCOMES.values(), "wrong"]
    return markdown_table(columns, rows) + "".join(["\n", *wrong] if wrong else [])


def _hostile(record):
    """The hostile files by kind."""
    found = collections.defaultdict(list)
    for case in record["cases"]:
        subject, _, what = case["case"].partition(": ")
        found[subject].append(what)
    return "".join(f"- {name}: {'; '.join(whats)}.\n" for name, whats in found.items())


def _environments(kinds):
    """The machines on which the kinds were run."""
    found = {}
    for kind, record in kinds.items():
        facts = record["environment"]
        words = (
            f"{facts['cpu']}, {counted(facts['cores'], 'processor')}, "
            f"Keras {facts['keras']}, {facts['backend']}, seed {record['seed']}"
        )
        found.setdefault(words, []).append(kind)
    return "".join(f"Run on {w}: {', '.join(ks)}.\n" for w, ks in found.items())
