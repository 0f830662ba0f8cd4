"""The page with a card for each trained model in the records. Needs no TensorFlow."""

import re

from experiments.pages.cells import processor
from experiments.pages.library import RunRecords, wilson
from experiments.pages.results import RECORDS, Result, head, markdown_table
from experiments.pages.scales import full_length_first

_ABOUT = """Trained models in the records of pruning runs: for each finished run the
model of round 0, which is not pruned, the selected model, which is the smallest that
maintained the accuracy of round 0, and the model of the last round. Load them in a
checkout of this repository:

```python
import resprune_tf as rp

model = rp.load_record_model("{name}")  # the selected model
first = rp.load_record_model("{name}", round=0)  # before pruning
last = rp.load_record_model("{name}", round={last})
```

`make verify` measures every model again and compares it with its record. Accuracies are
those of the recorded run, with their 95 % Wilson intervals; n is the number of images.
MACs are of one image. A run with several seeds has one card, that of the first; the
records of the others have the same files."""
_LICENCES = {
    "digits": "test part of *Optical Recognition of Handwritten Digits* (E. Alpaydin "
    "and C. Kaynak, UCI Machine Learning Repository, data set 80), which scikit-learn "
    "includes; UCI publishes it under CC BY 4.0",
    "cifar10": "the authors (A. Krizhevsky, *Learning Multiple Layers of Features from "
    "Tiny Images*, 2009) state no licence and ask for a citation",
    "imagenet2012": "ImageNet may be used for non-commercial research and education "
    "only (terms of access, image-net.org)",
}
_LICENCES["cifar100"] = _LICENCES["cifar10"]
_LIMITS = """Limits: the model was trained and measured on images of {data} only.
Nothing is known about other images, and its logits are not calibrated probabilities.
Training with another seed gives another model with another accuracy."""
_ON_TEST = """ The test set selected the round, so that the accuracy of the selected
model is too high by an unknown amount."""
_SMOKE = """ This is a smoke test: few images and epochs show that the code works; the
model is of no use."""


def make(records=RECORDS):
    """The page, or None if no record has a model.

    Args:
        records: folder of all records.
    """
    runs = {}
    for path in sorted(records.glob("*/*/final.json")):
        run = RunRecords.read(path.parent)
        if run.in_percent and (path.parent / run.selected.get("model", "")).is_file():
            runs[path.parent.relative_to(records).as_posix()] = run
    if not runs:
        return None
    runs = {name: runs[name] for name in sorted(runs, key=full_length_first)}
    groups = {re.sub(r"-seed\d+$", "", name): name for name in reversed(runs)}
    carded = [name for name in runs if name in groups.values()]  # of the first seed
    rows = []
    for name, run in runs.items():
        link = f"#{_anchor(name)}" if name in carded else f"../../records/{name}"
        rows.append([f"[{name}]({link})", *_row(run, run.selected)])
    parts = [
        head("Trained models", "models", _about(runs)),
        markdown_table(["selected model of", *_COLUMNS], rows),
        *(_card(name, runs[name], records / name) for name in carded),
    ]
    return Result("models", "\n".join(parts))


def _about(runs):
    # The example is the longest run, which is closest to the paper.
    name, run = max(runs.items(), key=lambda item: item[1].total("epochs"))
    return _ABOUT.format(name=name, last=run.rounds[-1]["round"])


_COLUMNS = ("layers", "MACs", "parameters", "test accuracy", "n")


def _row(run, line):
    counts = [f"{line[key]:,}" for key in ("layers", "macs", "parameters")]
    return [*counts, _accuracy(run, line, "test"), f"{run.examples('test'):,}"]


def _accuracy(run, line, split):
    accuracy, count = run.monitored(line, split), run.examples(split)
    if accuracy is None:
        return "-"
    low, high = wilson(accuracy, count)
    return f"{100 * accuracy:.2f} % ({100 * low:.2f} to {100 * high:.2f} %)"


def _anchor(name):
    """The anchor of a heading, as GitHub makes it."""
    return name.replace("/", "")


def _card(name, run, folder):
    kept = {line["round"]: line for line in (run.rounds[0], run.selected)}
    if (folder / run.rounds[-1].get("model", "")).is_file():
        kept[run.rounds[-1]["round"]] = run.rounds[-1]
    lines = [kept[number] for number in sorted(kept)]
    titles = [
        f"round {line['round']}" + " (selected)" * (line is run.selected)
        for line in lines
    ]
    rows = [
        [title, *_row(run, line), *_files(folder, line)]
        for title, line in zip(titles, lines, strict=True)
    ]
    columns = ("model", *_COLUMNS, "file")
    times = [line.get("measured", {}).get("latency_ms") for line in lines]
    if any(times):
        columns = (*columns, "latency")
        for row, time in zip(rows, times, strict=True):
            row.append(f"{time:.3g} ms" if time else "-")
    facts = [_trained_on(run), _recipe(run), _removed(run), _selected_by(run, lines)]
    facts.append(f"Record: [{name}](../../records/{name}), with all flags and rounds.")
    data = run.settings["dataset"]["name"]
    licence = _LICENCES.get(data, "not known")
    facts.append(
        "Licence of the model: that of this repository, as far as the data allow it. "
        f"Data: {licence}."
    )
    limits = _LIMITS.format(data=data)
    limits += _ON_TEST if run.split == "test" else ""
    limits += _SMOKE if run.smoke else ""
    listed = "".join(f"- {fact}\n" for fact in facts)
    return f"## {name}\n\n{markdown_table(columns, rows)}\n{listed}\n{limits}\n"


def _files(folder, line):
    path = folder / line.get("model", "")
    return [f"{path.stat().st_size / 1e6:.2f} MB" if path.is_file() else "not kept"]


def _trained_on(run):
    data, settings = run.settings["dataset"], run.settings
    return (
        f"Trained on {data['name']}: {data['train']:,} training, "
        f"{data['validation']:,} validation and {data['test']:,} test images. Input: "
        f"pixels from 0 to 255; output: logits. Seed {settings['seed']}, backend "
        f"{settings['backend']}, {processor(run)}."
    )


def _recipe(run):
    recipe = run.settings["recipe"]
    again = run.settings.get("retrain_recipe", recipe)
    return (
        f"Recipe: SGD, learning rate {recipe['learning_rate']:g}, batch size "
        f"{recipe['batch_size']}, {recipe.get('precision', 'float32')}, "
        f"{recipe['epochs']} epochs, then {again['epochs']} epochs per retraining; "
        f"{run.total('epochs')} in all."
        + (" These are a quarter of the paper's." if run.scale == "quarter" else "")
    )


def _removed(run):
    before, after = [], []
    for line in run.rounds:
        later = line["round"] > run.selected["round"]
        (after if later else before).extend(line["removed"])
    by = f" by the criterion `{run.settings['criterion']}`" if before or after else ""
    text = f"Removed{by} up to the selected round: {', '.join(before) or 'nothing'}."
    if after:
        text += (
            f" Removed after it, up to round {run.rounds[-1]['round']}, the last: "
            f"{', '.join(after)}."
        )
    return text


def _selected_by(run, lines):
    parts = [
        f"{_accuracy(run, line, run.split)} in round {line['round']}" for line in lines
    ]
    return (
        f"Selected by the accuracy on the {run.split} images "
        f"(n = {run.examples(run.split):,}): {', '.join(parts)}."
    )
