"""The page of the ways to retrain a trained model. No TensorFlow."""

import json

from experiments.pages.results import Result, head, markdown_table
from experiments.removal_study.retraining import COMMAND, PLACE, WAYS

_ABOUT = """How to retrain a trained model after removing units. The five units with the
smallest block influence are removed from the public CIFAR-10 ResNet-32 at once. The
pruned model is retrained for a few epochs of 45,000 images by
`prune_and_retrain(initial="as_given")`. One model, one seed per row (n = 1): these are
observations. The standard error of one accuracy on 10,000 images is 0.3 percentage
points; the spread over seeds was not measured.

- *Rate*: the highest learning rate. *Schedule*: `warmup_linear` rises during the first
  tenth and falls linearly to 0, `linear` only falls. `step` divides the rate by 10
  after 40 % and 61 % of the epochs, as in the paper: from 0.1 it is a shortened version
  of the paper's schedule, from 0.01 it repeats the end of a usual one, as learning-rate
  rewinding does (Renda et al., [arXiv:2003.02389](https://arxiv.org/abs/2003.02389)).
- *Teacher*: distillation from the unpruned model, temperature 4, weight 0.7.
- *Test*: accuracy on all 10,000 test images, in %. *Lost*: decrease from the unpruned
  model, in percentage points. Rows are ordered by test accuracy, so that of the first
  rows is optimistic.

The authors of the model trained it on all 50,000 training images and chose the
checkpoint on the test images, so its own accuracy is slightly too high."""


def make(records):
    """The page; None without records."""
    path = records / PLACE
    record = json.loads(path.read_text("utf-8")) if path.exists() else {"ways": {}}
    if not record["ways"]:
        return None
    text = head("Retraining of a trained model", "retraining", _ABOUT)
    ways = sorted(record["ways"].values(), key=lambda way: -way["retrained"])
    first = ways[0]
    text += (
        f"\nUnpruned: {first['given']:.2%}; without {len(first['removed'])} units "
        f"({first['macs_ratio']:.1%} of the MACs): {first['removed_only']:.2%}; after "
        f"recalibration of BatchNormalization: {first['recalibrated']:.2%}.\n".replace(
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
    text += f"\n{markdown_table([*columns, 'training accuracy, %'], rows)}"
    left = [way.name for way in WAYS if way.name not in record["ways"]]
    if left:
        text += f"\nNot run yet (`{COMMAND}`): {', '.join(left)}.\n"
    environment = first["environment"]
    text += (
        f"\nCommand: `{record['command']}`; seed {first['seed']}; on "
        f"{environment.get('cpu', 'an unknown processor')}.\n"
    )
    return Result("retraining", text)
