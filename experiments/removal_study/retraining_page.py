"""The page of the ways to retrain a trained network. No TensorFlow."""

import json

from experiments.pages.results import RECORDS, NotRun, Result, head, markdown_table
from experiments.removal_study.retraining import COMMAND, PLACE, WAYS

_ABOUT = """How to retrain what is left of a trained network. The public CIFAR-10
ResNet-32 loses its five units of smallest block influence at once, and what is left is
trained for a few epochs of 45,000 images by `prune_and_retrain(initial="as_given")`.

- *rate*: the highest learning rate. *schedule*: how it changes; `warmup_linear` rises
  over the first tenth and falls to 0.
- *teacher*: the network as it was teaches, with temperature 4 and a weight of 0.7.
- *test*: accuracy on all 10,000 test images in %. *lost*: its difference to the network
  as it was, in points. Differences below about 0.5 points are within the spread of such
  trainings.

The network was trained by its authors on all 50,000 training images, and its checkpoint
was chosen on the test images, so its own accuracy is a little flattered. One seed."""


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    not_run = NotRun()
    text = head("Retraining of a trained network", "retraining", _ABOUT)
    path = records / PLACE
    record = {"ways": {}}
    if path.exists():
        record = json.loads(path.read_text("utf-8"))
    if not record["ways"]:
        text += f"\nWays: {not_run.cell(COMMAND)}\n"
        return Result("retraining", text + not_run.listing())
    ways = sorted(record["ways"].values(), key=lambda way: -way["retrained"])
    first = ways[0]
    text += (
        f"\nAs it was: {first['given']:.2%}; without {len(first['removed'])} units "
        f"({first['macs_ratio']:.1%} of the MACs): {first['removed_only']:.2%}; with "
        f"its statistics estimated anew: {first['recalibrated']:.2%}.\n".replace(
            "%", " %"
        )
    )
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
        for way in ways
    ]
    text += f"\n{markdown_table([*columns, 'training accuracy'], rows)}\n"
    left = [way.name for way in WAYS if way.name not in record["ways"]]
    if left:
        text += f"\nNot run yet: {', '.join(left)}.\n"
    environment = first["environment"]
    text += (
        f"\nCommand: `{record['command']}`; seed {first['seed']}; on "
        f"{environment.get('cpu', 'an unknown processor')}.\n"
    )
    return Result("retraining", text + not_run.listing())
