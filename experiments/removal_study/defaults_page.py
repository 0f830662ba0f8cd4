"""The page of a trained model that is pruned by default settings. No TensorFlow."""

import json

from experiments.pages.results import Result, head, markdown_table
from experiments.removal_study.defaults import COMMAND, PLACE, TARGET

_ABOUT = f"""The result of `resprune prune` on a trained model with default settings,
compared with the schedule of the paper for the same number of epochs. One model, one
seed (n = 1). The standard error of one accuracy on 10,000 images is 0.3 percentage
points; the spread over seeds was not measured.

- *Default settings*: the public CIFAR-10 ResNet-44 is pruned to {100 * TARGET:g} % of
  its multiply-accumulates (MACs). Block influence selects the units, all of them are
  removed at once, and the pruned model is retrained for 10 epochs of 45,000 images with
  the given model as its teacher. Only `--augment`, as in the original training, the
  batch size and `--tolerance` are set. The tolerance is large because the held-out
  images are training images of this model: no pruned model can maintain its accuracy on
  them, so with the default tolerance the command would reject the result.
- *The paper's schedule* for 2 epochs per training: the trained model gets scalars ω at
  random and is trained from a learning rate of 0.1. Before each retraining, which
  starts at 0.1 again, the two units with the smallest |ω| are removed. The paper trains
  with ω from the start, and for 60 to 200 epochs per round, so this does not test its
  claims.
- Whole units are removed until at most {100 * TARGET:g} % of the MACs are left, so both
  ways remove more than {100 - 100 * TARGET:g} %.

Accuracies are measured on all 10,000 test images, which selected no model here. But the
default learning rate and teacher had been compared on the same test images with
ResNet-32 ([Retraining of a trained model](retraining.md)), so the result may be
slightly optimistic. The authors of the model trained it on all 50,000 training images
and selected its checkpoint by test accuracy, so its own accuracy is slightly too
high."""
_TITLES = {
    "defaults": "Default settings",
    "paper": "The paper's schedule cut to 2 epochs per training",
}


def make(records):
    """The page; None without records."""
    path = records / PLACE
    if not path.exists():
        return None
    record = json.loads(path.read_text("utf-8"))
    text = head("Pruning a trained model by default settings", "pretrained", _ABOUT)
    for name, title in _TITLES.items():
        text += f"\n## {title}\n\n"
        if name not in record:
            text += f"Not run yet: `{COMMAND} --pretrained=DIR --data_dir=DATA`.\n"
            continue
        text += (
            f"`{record[name]['how']}`\n\n{_sentence(record[name]['rounds'], record)}\n"
        )
        text += f"\n{_table(record[name]['rounds'])}"
    found = next(record[name] for name in _TITLES if name in record)["environment"]
    text += (
        f"\nCommand: `{record['command']}`; seed {record['seed']}; on "
        f"{found.get('cpu', 'an unknown processor')}.\n"
    )
    return Result("pretrained", text)


def in_brief(records):
    """What was found, as a paragraph for the overview; "" without a record."""
    path = records / PLACE
    record = json.loads(path.read_text("utf-8")) if path.exists() else {}
    lines = [
        f"- {title}: {_sentence(record[name]['rounds'], record)}\n"
        for name, title in _TITLES.items()
        if name in record
    ]
    if not lines:
        return ""
    return (
        "Outside the paper's experiments, a public CIFAR-10 ResNet-44 was pruned and "
        "retrained for 10 epochs in all (n = 1, 10,000 test images; "
        f"[details](pretrained.md)):\n\n{''.join(lines)}\n"
        "The two ways differ in the criterion, the learning rate, the teacher, the "
        "number of rounds and the share of MACs removed, so the difference has no "
        "single cause. This does not test the paper, which trains for 60 to 200 epochs "
        "per round.\n"
    )


def _sentence(rounds, record):
    """What was removed and lost; a loss before any removal is stated separately."""
    first, last = rounds[0], rounds[-1]
    given = record.get("defaults", {"rounds": rounds})["rounds"][0]["test"]
    hours = sum(each["seconds"] for each in rounds) / 3600
    return (
        f"{100 * (1 - last['macs'] / first['macs']):.1f} % of the MACs were removed; "
        f"test accuracy changed by {100 * (last['test'] - given):+.2f} "
        f"percentage points, from {100 * given:.2f} % to "
        f"{100 * last['test']:.2f} % ({hours:.1f} h)."
        f"{_before(rounds, given)}"
    )


def _before(rounds, given):
    """How much of a change is due to training before any unit was removed."""
    first = rounds[0]
    if not first["epochs"]:
        return ""
    return (
        f" Of this change, {100 * (first['test'] - given):+.2f} percentage points came "
        f"from the {first['epochs']} epochs before the first removal, and "
        f"{100 * (rounds[-1]['test'] - first['test']):+.2f} from the removals and "
        "their retraining."
    )


def _table(rounds):
    columns = (
        *("round", "units removed", "layers", "MACs", "epochs"),
        *("held-out accuracy, %", "test accuracy, %"),
    )
    macs = rounds[0]["macs"]
    rows = [
        (
            f"{each['round']}",
            ", ".join(each["removed"]) or "-",
            f"{each['layers']}",
            f"{100 * each['macs'] / macs:.1f} %",
            f"{each['epochs']}",
            f"{100 * each['validation']:.2f}",
            f"{100 * each['test']:.2f}",
        )
        for each in rounds
    ]
    return markdown_table(columns, rows)
