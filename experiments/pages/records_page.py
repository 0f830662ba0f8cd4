"""The page of all committed records. Needs no TensorFlow."""

import collections
import re

from experiments.pages import cells
from experiments.pages.differences import pair, summarize
from experiments.pages.library import RunRecords, percent, short, wilson
from experiments.pages.results import RECORDS, head, markdown_table
from experiments.pages.scales import (
    check_scale,
    full_length_first,
    is_smoke_test,
    words,
)

_ABOUT = f"""All committed records. The folder of a record has its flags, environment
and rounds; `resprune report FOLDER` writes its report.

- *Initial*, *selected*, *last*: the initial model, the smallest one whose accuracy on
  the selection images is at least the initial one, and the one at the end of the run;
  cells with an arrow show the first two. Accuracies are in %, MACs and parameters of
  the selected model in % of the initial.
- *Scale*: *full length* means the epochs of the paper, *own schedule* those of the
  flagfile of a model that is not in the paper. *Smoke tests* show that everything runs;
  their numbers support no claim.
- *digits/demo-fast* has the settings of *digits/demo*, run by version 0.1.0, which
  kept no models.
- Several seeds: mean ± standard deviation over n seeds on the test set;
  {cells.COUNTED_SEEDS}. *Change*: selected, or last, minus initial model of the same
  seed in percentage points, mean [95 % t interval]. The [front page](README.md) judges
  claims.
- Single runs: ± half the width of the 95 % Wilson interval for the number of images."""
_DATA = "data (train / selection / test)"
_LONG = ("seeds", _DATA, "selected on", "MACs %", "change", "change by seed", "epochs")
_LONG += ("minutes",)
# Words of notes in older records, and what the pages say today.
_WORDS = {
    "Proof of function": "Smoke test",
    "a proof that the JAX path works in pieces, not of accuracy": (
        "a smoke test of the JAX path in pieces. No accuracy claim"
    ),
}
_COLUMNS = (
    "record",
    "scale",
    _DATA,
    "layers",
    "MACs",
    "parameters",
    "selected on",
    "selection accuracy",
    "test accuracy",
    "epochs",
    "minutes",
    "processor",
)


def records_page(records=RECORDS):
    """The text of the page; None without records.

    Args:
        records: folder with `<experiment>/<row>/final.json` and the rest of a record.
    """
    repeated = {n for n, runs in _groups(records).items() if len(runs) > 1}
    rows, notes = [], []
    begun = _in_progress(records)
    names = (
        path.parent.relative_to(records).as_posix()
        for path in records.glob("*/*/final.json")
    )
    for name in sorted(names, key=full_length_first):
        run = RunRecords.read(records / name)
        check_scale(name, run.scale)
        if note := run.final.get("note"):
            for old, new in _WORDS.items():
                note = note.replace(old, new)
            notes.append(f"- {name}: {note}\n")
        if _SEED.sub("", name) not in repeated:
            link = f"[{name}](../../records/{name})"
            rows.append([link, _scale(name, run), *_cells(run)])
    parts = [head("All records", "records", _ABOUT)]
    if repeated:
        parts.append(f"## Several seeds\n\n{over_seeds(records, least=2)}")
    if rows:
        parts.append(f"## Single runs\n\n{markdown_table(_COLUMNS, rows)}")
    parts += begun
    if len(parts) == 1:
        return None
    if notes:
        parts.append("Notes in the records:\n\n" + "".join(notes))
    return "\n".join(parts)


_SEED = re.compile(r"-seed\d+$")


def _groups(records):
    """Finished runs without smoke tests: `RunRecords` by seed, by name of the run."""
    groups = collections.defaultdict(dict)
    for path in sorted(records.glob("*/*/final.json")):
        name = path.parent.relative_to(records).as_posix()
        run = RunRecords.read(path.parent)
        if (match := _SEED.search(name)) and not is_smoke_test(name, run.scale):
            groups[name[: match.start()]][int(match[0][5:])] = run
    return groups


def _scale(name, run):
    """The scale of a record in words."""
    return "smoke test" if is_smoke_test(name, run.scale) else words(name, run.scale)


def smoke_tests(records):
    """Names of the records that are smoke tests.

    Args:
        records: as for `records_page`.
    """
    names = [
        path.parent.relative_to(records).as_posix()
        for path in sorted(records.glob("*/*/final.json"))
    ]
    return [n for n in names if is_smoke_test(n, RunRecords.read(records / n).scale)]


def _unfinished(records):
    """Name and `RunRecords` of every unfinished run with a finished round."""
    for path in sorted(records.glob("*/*/rounds.jsonl")):
        folder = path.parent
        if not (folder / "final.json").is_file():
            run = RunRecords.read(folder)
            name = folder.relative_to(records).as_posix()
            check_scale(name, run.scale)
            yield name, run


def unfinished(records, planned):
    """The unfinished runs and their finished rounds, as text.

    Args:
        records: as for `records_page`.
        planned: number of rounds after the initial training by name of the run; runs
            of other names have none.
    """
    return ", ".join(
        f"{name} ({_scale(name, run)}, "
        f"{finished(run, planned.get(_SEED.sub('', name.split('/')[-1])))})"
        for name, run in _unfinished(records)
    )


def finished(run, planned=None):
    """How far an unfinished run is, such as `round 1 of 4 finished`.

    Args:
        run: its `RunRecords`.
        planned: number of rounds after its initial training, if known.
    """
    of = "" if planned is None else f" of {planned}"
    return f"round {run.rounds[-1]['round']}{of} finished"


def _in_progress(records):
    """A list with the table of the finished rounds of unfinished runs, or empty."""
    rows = []
    for name, run in _unfinished(records):
        link = f"[{name}](../../records/{name})"
        for r in run.rounds:
            cells_of = [str(r["round"]), str(r["layers"]), str(r["epochs"])]
            accuracy = run.show(run.monitored(r, "test"))
            rows.append([link, _scale(name, run), *cells_of, accuracy])
    if not rows:
        return []
    columns = ("record", "scale", "round", "layers", "epochs", "test accuracy, %")
    return [
        "## In progress\n\nFinished rounds of unfinished runs. They enter no claim; "
        "the [front page](README.md) shows those of restart controls.\n\n"
        f"{markdown_table(columns, rows)}"
    ]


def over_seeds(records=RECORDS, only=None, without=(), least=1, brief=False):
    """A table of the recorded runs without smoke tests; "" without any.

    Args:
        records: as for `records_page`.
        only: names of the runs to show, such as `"c10-main"`; all by default.
        without: names of runs to leave out.
        least: number of seeds that a run must have.
        brief: whether to leave out links, the change of the selected model, epochs and
            minutes.
    """
    groups = {
        name: runs
        for name, runs in _groups(records).items()
        if (run := name.split("/")[-1]) not in without and (not only or run in only)
    }
    names = sorted(groups, key=full_length_first)
    rows = [_seeds_cells(n, groups[n]) for n in names if len(groups[n]) >= least]
    if not rows:
        return ""
    if brief:
        rows = [{k: v for k, v in row.items() if k not in _LONG} for row in rows]
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows])


def _seeds_cells(name, runs):
    firsts = {seed: run.rounds[0] for seed, run in runs.items()}
    chosen = {seed: run.selected for seed, run in runs.items()}
    lasts = {seed: run.rounds[-1] for seed, run in runs.items()}
    before, after, end = (
        {
            seed: accuracy
            for seed, record in found.items()
            if (accuracy := runs[seed].monitored(record, "test")) is not None
        }
        for found in (firsts, chosen, lasts)
    )
    change = pair(after, before)
    left = (100 * chosen[seed]["macs"] / firsts[seed]["macs"] for seed in runs)
    layers = (
        cells.each(record["layers"] for record in found.values())
        for found in (firsts, chosen, lasts)
    )
    minutes = summarize(run.final["total_seconds"] / 60 for run in runs.values())
    records = ", ".join(
        f"[{seed}](../../records/{name}-seed{seed})" for seed in sorted(runs)
    )
    first = next(iter(runs.values()))
    # A run with one round is a training only, so its last model is its first.
    rounds = any(len(run.rounds) > 1 for run in runs.values())
    changes = (
        cells.signed(100 * (after[seed] - before[seed]))
        for seed in sorted(before.keys() & after)
    )
    return {
        "run": name,
        "scale": words(name, first.scale),
        _DATA: _sizes(first),
        "selected on": cells.on_split(first.split),
        "seeds": records,
        "layers: initial, selected, last": " → ".join(layers),
        "MACs %": cells.each(f"{share:.1f}" for share in left),
        "initial": cells.percent(summarize(before.values())),
        "selected": cells.percent(summarize(after.values())),
        "last": cells.percent(summarize(end.values())),
        "change": cells.points(change) if rounds else "-",
        "change by seed": ", ".join(changes) if rounds else "-",
        "last minus initial": cells.points(pair(end, before)) if rounds else "-",
        "epochs": cells.each(run.final["total_epochs"] for run in runs.values()),
        "minutes": f"{minutes.mean:.1f}",
        "processor": ", ".join(dict.fromkeys(map(_processor, runs.values()))),
    }


def _sizes(run):
    data = run.settings["dataset"]
    sizes = (data["train"], data[run.split], data["test"])
    return f"{data['name']} ({' / '.join(f'{size:,}' for size in sizes)})"


def _processor(run):
    return f"{cells.processor(run)}, {run.settings['backend']}"


def _cells(run):
    first, chosen = run.rounds[0], run.selected
    return [
        _sizes(run),
        f"{first['layers']} → {chosen['layers']}",
        f"{short(first['macs'])} → {100 * chosen['macs'] / first['macs']:.1f} %",
        f"{short(first['parameters'])} → "
        f"{100 * chosen['parameters'] / first['parameters']:.1f} %",
        cells.on_split(run.split),
        _accuracies(run, run.split),
        _accuracies(run, "test"),
        str(run.final["total_epochs"]),
        f"{run.final['total_seconds'] / 60:.1f}",
        _processor(run),
    ]


def _accuracies(run, split):
    parts = []
    for record in (run.rounds[0], run.selected):
        accuracy = run.monitored(record, split)
        low, high = wilson(accuracy, run.examples(split))
        parts.append(f"{percent(accuracy)} ± {50 * (high - low):.2f}")
    return " → ".join(parts)
