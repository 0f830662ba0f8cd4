"""The page of retraining a trained model: ways and criteria. No TensorFlow."""

import collections

from experiments.pages import manifest
from experiments.pages.cells import joined, points, spread
from experiments.pages.differences import pair, summarize
from experiments.pages.results import Result, head, markdown_table
from experiments.removal_study.retraining import (
    CHOICES,
    CHOSEN_WAY,
    COMMAND,
    PLACES,
    SEEDS,
    WAYS,
)

_ABOUT = """Five of the 13 removable units of the public CIFAR-10 ResNet-32 are removed
at once, and the pruned model is retrained for a few epochs of 45,000 images by
`prune_and_retrain(initial="as_given")`. All accuracies are on the 10,000 test images,
in %; the standard error of one of them is 0.3 percentage points.

The authors of the model trained it on all 50,000 training images and chose the
checkpoint on the test images, so its own accuracy is slightly too high."""
_WAYS = """How to retrain after the removal of the five units with the smallest block
influence. One seed per row (n = 1): these are observations; the spread over seeds was
not measured.

- *Rate*: the highest learning rate. *Schedule*: `warmup_linear` rises during the first
  tenth and falls linearly to 0, `linear` only falls. `step` divides the rate by 10
  after 40 % and 61 % of the epochs, as in the paper: from 0.1 it is a shortened version
  of the paper's schedule, from 0.01 it repeats the end of a usual one, as learning-rate
  rewinding does (Renda et al., [arXiv:2003.02389](https://arxiv.org/abs/2003.02389)).
- *Teacher*: distillation from the unpruned model, temperature 4, weight 0.7.
- *Lost*: decrease from the unpruned model, in percentage points. Rows are ordered by
  test accuracy, so that of the first rows is optimistic.
"""
_CRITERIA = """Which criterion should choose the five units, if the model is retrained?
All runs retrain in the same way: {way}. Criteria and seeds were fixed before the first
run. A seed chooses the images that score the units, the units of `random`, and the
order of the training images; all units have the same MACs.

- Cells: mean ± standard deviation over n seeds. *Removed*: without retraining;
  *recalibrated*: after recalibration of BatchNormalization; *retrained*: after
  retraining.
- *Minus random*: *retrained* minus that of random units with the same seed, in
  percentage points, mean [95 % t interval].
- *Units*: in how many seeds each unit was removed, for example `stage1_unit4 (5)`.
"""


def make(records):
    """The page; None without records."""
    sections = (
        ("ways", "Ways to retrain", _ways),
        ("criteria", "Criteria after retraining", _criteria),
    )
    parts = []
    for key, title, section in sections:
        record = manifest.read_record(records / PLACES[key])
        if record:
            parts.append(f"\n## {title}\n\n{section(record, record[key])}")
    if not parts:
        return None
    text = head("Retraining of a trained model", "retraining", _ABOUT)
    return Result("retraining", text + "".join(parts))


def _ways(record, runs):
    runs_in_order = sorted(runs.values(), key=lambda way: -way["retrained"])
    first = runs_in_order[0]
    columns = ["optimizer", "rate", "schedule", "epochs", "teacher", "test", "lost"]
    rows = [
        (
            way["optimizer"],
            f"{way['rate']:g}",
            way["schedule"],
            f"{way['epochs']}",
            "yes" if way["teacher"] else "no",
            f"{100 * way['retrained']:.2f}",
            f"{100 * (way['given'] - way['retrained']):.2f}",
            f"{100 * way['train']:.1f}",
        )
        for way in runs_in_order
    ]
    unpruned = (
        f"Unpruned: {_percent(first['given'])}; without {len(first['removed'])} units "
        f"({100 * first['macs_ratio']:.1f} % of the MACs): "
        f"{_percent(first['removed_only'])}; after recalibration of "
        f"BatchNormalization: {_percent(first['recalibrated'])}."
    )
    table = markdown_table([*columns, "training accuracy, %"], rows)
    planned = [way.name for way in WAYS]
    return f"{_WAYS}\n{unpruned}\n\n{table}{_source(record, runs, planned, 'ways')}"


def _criteria(record, runs):
    found = {choice.name: {} for choice in CHOICES}
    for run in runs.values():
        found[run["criterion"]][run["seed"]] = run
    retrained = {
        name: {seed: run["retrained"] for seed, run in by_seed.items()}
        for name, by_seed in found.items()
    }
    rows = []
    for name, by_seed in found.items():
        if not by_seed:
            continue
        values = (
            summarize(run[key] for run in by_seed.values())
            for key in ("removed_only", "recalibrated", "retrained")
        )
        difference = pair(retrained[name], retrained["random"])
        removed = collections.Counter(
            unit for run in by_seed.values() for unit in run["removed"]
        )
        units = ", ".join(f"{unit} ({n})" for unit, n in removed.most_common())
        rows.append(
            (
                name,
                str(len(by_seed)),
                *map(spread, values),
                "-" if name == "random" else points(difference),
                units,
            )
        )
    columns = "criterion,n,removed,recalibrated,retrained,minus random,units"
    way = CHOSEN_WAY
    about = _CRITERIA.format(
        way=f"{way.epochs} epochs of {way.optimizer.upper()} from a learning rate of "
        f"{way.rate:g} (`{way.schedule}`), with the unpruned model as teacher"
    )
    first = next(iter(runs.values()))
    unpruned = (
        f"Unpruned: {_percent(first['given'])}; MACs left: "
        f"{100 * first['macs_ratio']:.1f} %."
    )
    table = markdown_table(columns.split(","), rows)
    planned = [f"{each.name}-seed{seed}" for seed in SEEDS for each in CHOICES]
    source = _source(record, runs, planned, "criteria")
    return f"{about}\n{unpruned}\n\n{table}{source}"


def _percent(accuracy):
    return f"{100 * accuracy:.2f} %"


def _source(record, runs, planned, compare):
    """What is not run yet, the command, the seeds and the processors of a record."""
    left = [name for name in planned if name not in runs]
    text = ""
    if left:
        text = f"\nNot run yet (`{COMMAND} --compare={compare}`): {', '.join(left)}.\n"
    seeds = sorted({run["seed"] for run in runs.values()})
    words = f"seed{'s' * (len(seeds) > 1)} {joined(map(str, seeds))}"
    processors = {run["environment"].get("cpu", "unknown") for run in runs.values()}
    return (
        f"{text}\nCommand: `{record['command']}`; {words}; on "
        f"{joined(sorted(processors))}.\n"
    )
