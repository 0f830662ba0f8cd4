"""Scores of removable units: the units with the smallest score are removed first.

A criterion is a function from a model to `{unit name: score}`. All of them score the
same units, `scored_units(model)` in their order, so that they can be compared.
"""

import hashlib

from resprune_tf.importance import SUFFIX, importances
from resprune_tf.sensitivity import leave_one_out, output_norm, taylor
from resprune_tf.similarity import block_influence, cka
from resprune_tf.sparsity import l1_importance
from resprune_tf.units import find_units, scored_units

LABELLED = {
    "taylor": taylor,
    "leave_one_out": leave_one_out,
    "l1_importance": l1_importance,
}
ON_IMAGES = {
    "output_norm": output_norm,
    "block_influence": block_influence,
    "cka": cka,
    **LABELLED,
}
NAMES = ("importance", "random", "largest", *ON_IMAGES)


def importance(model):
    """|ω| of every removable unit that has an `ImportanceScale`.

    Args:
        model: a functional `keras.Model`.

    Returns:
        dict from unit name to |ω|, in the order of the units; empty if there is none.

    Reference: Algorithm 1 of the paper; arXiv:1906.03826.
    """
    values = importances(model)
    return {
        unit.name: abs(values[unit.importance.removesuffix(SUFFIX)])
        for unit in find_units(model)
        if unit.removable and unit.importance
    }


def largest(model):
    """-|ω|: the units go in the opposite order of `importance`, as a control.

    Args:
        model: a functional `keras.Model`.

    Returns:
        dict as from `importance`, of negative numbers.
    """
    return {name: -score for name, score in importance(model).items()}


def random(seed):
    """A criterion that removes units in a random order, as a control.

    A unit's score depends on the seed and its name only. So the order is the same
    whichever units are left and on every machine, and any order is as likely as any
    other.

    Args:
        seed: int.

    Returns:
        A criterion with scores in [0, 1).
    """

    def criterion(model):
        return {
            unit.name: _uniform(f"{seed} {unit.name}") for unit in scored_units(model)
        }

    criterion.__name__ = f"random(seed {seed})"
    return criterion


def _uniform(text):
    """A number in [0, 1) that a text determines."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def named(name, dataset, seed=0, examples=512, batch_size=128, recalibrate=False):
    """The criterion of a name.

    Args:
        name: one of `NAMES`.
        dataset: a `Dataset`. Only its training images are used, and only by the
            criteria `ON_IMAGES`.
        seed: int; of `random`, of the choice of images, and of the batches of
            `l1_importance`.
        examples: how many images to use: a random choice that stays the same for
            every model. All, if there are fewer.
        batch_size: images a step.
        recalibrate: whether BatchNormalization statistics are estimated anew from the
            same images before a score is taken; see `recalibration.py`.

    Returns:
        A criterion. Its `__name__` says everything that sets it apart, such as
        `"taylor(512 images, seed 0, recalibrated)"`.

    Raises:
        ValueError: for an unknown name; for `examples` or `batch_size` below 1; or for
            `recalibrate` where no image is looked at.
    """
    if name not in NAMES:
        raise ValueError(
            f"There is no criterion {name!r}. The criteria: {', '.join(NAMES)}."
        )
    if name in ON_IMAGES:
        chosen = dataset.train.sample(examples, seed)
        arguments = [chosen.images]
        if name in LABELLED:
            arguments.append(chosen.labels)
        options = {"seed": seed} if name == "l1_importance" else {}
        make = ON_IMAGES[name]
        criterion = make(*arguments, batch_size, recalibrate, **options)
        suffix = ", recalibrated" if recalibrate else ""
        criterion.__name__ = f"{name}({len(chosen)} images, seed {seed}{suffix})"
        return criterion
    if recalibrate:
        raise ValueError(
            f"The criterion '{name}' looks at no images, so there is nothing to "
            f"recalibrate. Those that do: {', '.join(ON_IMAGES)}."
        )
    return {"importance": importance, "largest": largest, "random": random(seed)}[name]


def check_scores(scores, model):
    """Raises a ValueError if a model has no scored unit to begin with."""
    if not scores:
        raise ValueError(
            f"'{model.name}' has no unit that the criterion scores and that may be "
            "removed. |ω| needs an ImportanceScale on the branch of each unit: "
            "`add_importance(model)` puts it there."
        )
