"""Scores of removable units: the units with the smallest score are removed first.

A criterion is a function from a model to `{unit name: score}`. All of them score the
same units, `scored_units(model)` in their order, so that they can be compared.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from resprune_tf.criteria.example_loss import loss_details
from resprune_tf.criteria.registry import (
    ANOTHER,
    LABELLED,
    ON_EXAMPLES,
    check_name,
    make,
)
from resprune_tf.data.examples import count_images
from resprune_tf.data.fit_data import ArraySplit, FitData
from resprune_tf.nets.importance import SUFFIX
from resprune_tf.system.advice import advice
from resprune_tf.training.recalibration import training_batches
from resprune_tf.units.finding import Units, find_units, scored_units
from resprune_tf.units.importances import importances


def importance(model: keras.Model) -> dict[str, float]:
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


def largest(model: keras.Model) -> dict[str, float]:
    """-|ω|: the units go in the opposite order of `importance`, as a control.

    Args:
        model: a functional `keras.Model`.

    Returns:
        dict as from `importance`, of negative numbers.
    """
    return {name: -score for name, score in importance(model).items()}


def random(seed: int) -> Callable:
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


def named(
    name: str,
    dataset: Any,
    seed: int = 0,
    examples: int = 512,
    batch_size: int = 128,
    recalibrate: bool = False,
    loss: Any = None,
) -> Callable:
    """The criterion of a name.

    Args:
        name: one of `registry.NAMES`.
        dataset: a `Dataset`, or `FitData`, whose weights of examples are left out. Of
            a pipeline the first examples are taken. Only its training images are used,
            and only by the criteria that look at examples.
        seed: int; of `random`, of the choice of images, and of the batches of
            `l1_importance`.
        examples: how many images to use: a random choice that stays the same for
            every model. All, if there are fewer.
        batch_size: images a step.
        recalibrate: whether BatchNormalization statistics are estimated anew from the
            same images before a score is taken; see `recalibration.py`.
        loss: of the criteria that look at labels; see `sensitivity.taylor`.

    Returns:
        A criterion. Its `__name__` says everything that sets it apart, such as
        `"taylor(512 images, seed 0, recalibrated)"`.

    Raises:
        ValueError: for an unknown name; for `examples` or `batch_size` below 1; for
            `recalibrate` where no image is looked at, or a `loss` where no label is;
            or, where labels are looked at, for `FitData` of a pipeline, or with
            labels of several outputs.
    """
    check_name(name)
    if loss is not None and name not in LABELLED:
        raise ValueError(
            f"The criterion '{name}' looks at no labels, so there is no loss. Those "
            f"that do: {', '.join(LABELLED)}."
        )
    if name in ON_EXAMPLES:
        images, labels = _sample(name, dataset, examples, seed)
        criterion = make(name, images, labels, loss, batch_size, recalibrate, seed)
        details = [f"{count_images(images)} images", f"seed {seed}"]
        details += loss_details(loss) + ["recalibrated"] * recalibrate
        criterion.__name__ = f"{name}({', '.join(details)})"
        return criterion
    if recalibrate:
        raise ValueError(
            f"The criterion '{name}' looks at no images, so there is nothing to "
            f"recalibrate. Those that do: {', '.join(ON_EXAMPLES)}."
        )
    return make(name, seed=seed)


def usual_criterion(model, data, trained=False):
    """The criterion of a run that is given none.

    Args:
        model: a functional `keras.Model`.
        data: a `Dataset` or `FitData`.
        trained: whether the model is taken as it is, so that an ω that is still 1
            says nothing.

    Returns:
        `importance` if there are importances that say something or will, else
        `block_influence` on 512 training examples.
    """
    factors = importances(model).values()
    if any(factor != 1 for factor in factors) or (factors and not trained):
        return importance
    return named("block_influence", data)


def check_trained(model):
    """Raises a ValueError if a model has importances ω, and all of them are still 1."""
    factors = importances(model).values()
    if factors and all(factor == 1 for factor in factors):
        raise ValueError(
            f"All importances ω of '{model.name}' are 1: they were never trained, and "
            'tell nothing about its units. Give `initial="train"`, or another '
            "`criterion`, such as `rp.criteria.block_influence(images)`."
        )


def _sample(name, dataset, examples, seed):
    """Training images and their labels: a random choice that stays the same."""
    if not isinstance(dataset, FitData):
        chosen = dataset.train.sample(examples, seed)
        return chosen.images, chosen.labels
    split = dataset.splits["train"]
    if not isinstance(split, ArraySplit) and name not in LABELLED:
        return _first(dataset, examples), None
    if not isinstance(split, ArraySplit):
        raise ValueError(
            "Of `FitData` a criterion's images are chosen from arrays. Of a pipeline "
            f"take some yourself: `criteria.{name}(images, ...)`."
        )
    order = np.random.default_rng(seed).permutation(split.size)
    rows = np.sort(order[: max(0, examples)])
    images, labels = keras.tree.map_structure(lambda a: a[rows], split.arrays[:2])
    if name in LABELLED:
        if len(keras.tree.flatten(labels)) != 1:
            raise ValueError(
                f"'{name}' needs the labels of one output. Choose it yourself: "
                f"`criteria.{name}(images, labels, loss=...)`."
            )
        (labels,) = keras.tree.flatten(labels)
    return images, labels


def _first(data, examples):
    """The first inputs of a pipeline."""
    found = [
        keras.tree.map_structure(keras.ops.convert_to_numpy, inputs)
        for inputs in training_batches(data, examples=examples)
    ]
    return keras.tree.map_structure(
        lambda *parts: np.concatenate(parts)[:examples], *found
    )


def check_scores(
    scores: Any, units: Units, former: Iterable[str] = ()
) -> dict[str, float]:
    """Scores as floats, once it is known that units can be ordered by them.

    Args:
        scores: what a criterion returned.
        units: the `Units` of the model.
        former: names of units that the model had once, whose scores are left out.

    Returns:
        dict from unit name to float, in the order of `scores`.

    Raises:
        TypeError: if `scores` is no dict.
        ValueError: if a name is no unit's, or a score no finite number.
    """
    if not isinstance(scores, Mapping):
        raise TypeError(
            "Scores must be a dict from unit name to number, as a criterion returns "
            f"it. Received: {type(scores).__name__}."
        )
    known = {unit.name for unit in units}
    found = {}
    for name, score in scores.items():
        if name in known:
            found[name] = _number(name, score)
        elif name not in former:
            raise ValueError(
                f"'{units.model}' has no unit '{name}', which has a score. Its units: "
                f"{', '.join(sorted(known)) or 'none'}."
            )
    return found


def _number(name, score):
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"The score of '{name}' must be a finite number. Received: {score}."
        )
    return number


def check_scored(scores: Mapping[str, float], model: keras.Model) -> None:
    """Raises a ValueError if a model has no scored unit to begin with."""
    if not scores:
        raise ValueError(
            f"'{model.name}' has no unit that the criterion scores and that may be "
            "removed."
            + advice(
                " |ω| needs an ImportanceScale on the branch of each unit: "
                "`add_importance(model)` puts it there.",
                ANOTHER,
            )
        )
