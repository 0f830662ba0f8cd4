"""Criteria that need no images, criteria by their names, and checks of scores.

A criterion is a function from a model to `{unit name: score}`; the units with the
smallest scores are removed first. All criteria score the same units,
`scored_units(model)`, in the same order, so that they can be compared.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.criteria.example_loss import loss_details
from resprune_tf.criteria.registry import (
    ANOTHER,
    LABELLED,
    ON_EXAMPLES,
    check_name,
    make,
)
from resprune_tf.criteria.scoring import with_details
from resprune_tf.data.dataset import Dataset
from resprune_tf.data.examples import concatenated
from resprune_tf.data.fit_data import ArraySplit, FitData
from resprune_tf.nets.importance import SUFFIX
from resprune_tf.system.advice import advice
from resprune_tf.training.recalibration import training_batches
from resprune_tf.units.finding import Units, find_units, scored_units
from resprune_tf.units.importances import importances


def importance(model: keras.Model) -> dict[str, float]:
    """Scores each removable unit that has an `ImportanceScale` by |ω|.

    Args:
        model: a functional `keras.Model`.

    Returns:
        dict from unit name to |ω| (float), in the order of the units; empty if no unit
        has an ω.

    Reference: Ida and Fujiwara, Network Implosion, arXiv:1906.03826, Algorithm 1.

    >>> scores = importance(resnet56())
    """
    values = importances(model)
    return {
        unit.name: abs(values[unit.importance.removesuffix(SUFFIX)])
        for unit in find_units(model)
        if unit.removable and unit.importance
    }


def largest(model: keras.Model) -> dict[str, float]:
    """Scores units by -|ω|: the opposite order of `importance`, as a control.

    Args:
        model: a functional `keras.Model`.

    Returns:
        dict from unit name to -|ω| (float), in the order of the units.
    """
    return {name: -score for name, score in importance(model).items()}


def random(seed: int) -> Callable:
    """Creates a criterion that removes units in random order, as a control.

    A score depends only on the seed and the name of the unit. So the order is the same
    on every machine and does not change when units are removed. All orders are equally
    likely.

    Args:
        seed: int.

    Returns:
        A criterion with scores in [0, 1).

    >>> scores = random(seed=0)(model)
    """

    def criterion(model):
        return {
            unit.name: _uniform(f"{seed} {unit.name}") for unit in scored_units(model)
        }

    criterion.__name__ = f"random(seed {seed})"
    return criterion


def _uniform(text):
    """A number in [0, 1), computed from a hash of the text."""
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
    """Creates a criterion by its name, with images from a data set.

    Args:
        name: one of `criteria.NAMES`.
        dataset: a `Dataset` or `FitData`. Criteria that need images take them from the
            training split. Sample weights are ignored.
        seed: int, seed of `random`, of the choice of images, and of the batches of
            `l1_importance`.
        examples: int, number of images: a random choice, the same for every model, or
            the first ones of a pipeline. If there are fewer, all are used.
        batch_size: int, images per step. For `FitData`, fewer are used if a model needs
            too much memory for them, but not fewer than in a training step.
        recalibrate: if True, the BatchNormalization statistics are re-estimated from
            the same images before scoring; see `rp.recalibrate`.
        loss: loss of the criteria that need labels; see `taylor`.

    Returns:
        A criterion. Its `__name__` contains all settings:
        `"taylor(512 images, seed 0, recalibrated)"`.

    Raises:
        ValueError: if `name` is unknown, if `examples` or `batch_size` is below 1, if
            `recalibrate` or `loss` is given for a criterion that uses no images or no
            labels, or if a criterion needs labels and `dataset` is `FitData` from a
            pipeline or with labels of several outputs.
        TypeError: if a criterion needs images and `dataset` is of another class.

    >>> criterion = named("taylor", load_dataset("digits"), examples=256)
    """
    check_name(name)
    if loss is not None and name not in LABELLED:
        raise ValueError(
            f"The criterion '{name}' uses no labels, so it takes no `loss`. Those "
            f"that use labels: {', '.join(LABELLED)}."
        )
    if name in ON_EXAMPLES:
        if not isinstance(dataset, (Dataset, FitData)):
            arrays = "images, labels" if name in LABELLED else "images"
            raise TypeError(
                "`dataset` must be a `Dataset` or `FitData`, from whose training "
                f"split images are taken. Received: {type(dataset).__name__}. With "
                f"arrays, call `criteria.{name}({arrays})`."
            )
        images, labels = _sample(name, dataset, examples, seed)
        build = functools.partial(
            make, name, images, labels, loss, recalibrate=recalibrate, seed=seed
        )
        if isinstance(dataset, FitData):
            least = dataset.splits["train"].batch_size
            criterion = _in_memory(build, batch_size, least)
        else:
            criterion = build(batch_size=batch_size)
        details = [f"seed {seed}", *loss_details(loss)]
        with_details(criterion, images, name, recalibrate, details)
        # A pipeline that shuffles begins with other images every time.
        criterion.arrays_vary = _is_pipeline(dataset)
        return criterion
    if recalibrate:
        raise ValueError(
            f"The criterion '{name}' uses no images, so it cannot `recalibrate`. Those "
            f"that use images: {', '.join(ON_EXAMPLES)}."
        )
    return make(name, seed=seed)


def _in_memory(build, batch_size, least):
    """A criterion with batches halved, at most to `least`, for models that need it.

    Args:
        build: partial of `make` without `batch_size`. Its arrays are not repeated in
            the closure, so that `criterion_settings` finds each of them once.
    """
    usual = build(batch_size=batch_size)

    def criterion(model):
        name, images, *_ = build.args
        graph.check_functional(model, name)
        size = graph.fitting_batch(
            model, images, batch_size, least, gradients=name in LABELLED
        )
        return (usual if size == batch_size else build(batch_size=size))(model)

    return criterion


def usual_criterion(model, data, trained=False):
    """The default criterion of a pruning run.

    Args:
        model: a functional `keras.Model`.
        data: a `Dataset` or `FitData`.
        trained: True if the model is scored as it is, without training it first. If
            all its importances ω are 1 then, they were never trained.

    Returns:
        `importance` if the model has importances that are, or will be, trained, else
        `block_influence` on 512 training examples.
    """
    if has_trained_importances(model) or (importance(model) and not trained):
        return importance
    return named("block_influence", data)


def has_trained_importances(model) -> bool:
    """Whether a model has importances ω that were trained: not all of them are 1."""
    return any(score != 1 for score in importance(model).values())


def check_trained(model):
    """Raises a ValueError if a model has importances ω, and all of them are still 1."""
    if importance(model) and not has_trained_importances(model):
        raise ValueError(
            f"All importances ω of '{model.name}' are 1: they were never trained, so "
            "they cannot rank its units."
            + advice(
                ' Pass `initial="train"`, or another `criterion`, such as '
                "`rp.criteria.block_influence(images)`.",
                ANOTHER,
            )
        )


def _sample(name, dataset, examples, seed):
    """A random choice of training images and their labels, determined by `seed`."""
    if not isinstance(dataset, FitData):
        chosen = dataset.train.sample(examples, seed)
        return chosen.images, chosen.labels
    split = dataset.splits["train"]
    if _is_pipeline(dataset) and name not in LABELLED:
        return _first(dataset, examples), None
    if _is_pipeline(dataset):
        raise ValueError(
            f"The images and labels of '{name}' are chosen from arrays, but this "
            "`FitData` is a pipeline. Choose some yourself: "
            f"`criteria.{name}(images, labels)`."
        )
    order = np.random.default_rng(seed).permutation(split.size)
    rows = np.sort(order[: max(0, examples)])
    images, labels = keras.tree.map_structure(lambda a: a[rows], split.arrays[:2])
    if name in LABELLED:
        if len(keras.tree.flatten(labels)) != 1:
            raise ValueError(
                f"'{name}' needs the labels of one output. Received: labels of "
                f"{len(keras.tree.flatten(labels))} outputs. Choose one yourself: "
                f"`criteria.{name}(images, labels, loss=...)`."
            )
        (labels,) = keras.tree.flatten(labels)
    return images, labels


def _is_pipeline(dataset):
    if not isinstance(dataset, FitData):
        return False
    return not isinstance(dataset.splits["train"], ArraySplit)


def _first(data, examples):
    """The first inputs of a pipeline."""
    found = concatenated(
        keras.tree.map_structure(keras.ops.convert_to_numpy, inputs)
        for inputs in training_batches(data, examples=examples)
    )
    return keras.tree.map_structure(lambda array: array[:examples], found)


def check_scores(
    scores: Any, units: Units, former: Iterable[str] = ()
) -> dict[str, float]:
    """Checks the scores that a criterion returned, and converts them to floats.

    Args:
        scores: what the criterion returned.
        units: the `Units` of the model.
        former: names of units that were removed earlier; their scores are ignored.

    Returns:
        dict from unit name to float, in the order of `scores`.

    Raises:
        TypeError: if `scores` is not a dict.
        ValueError: if a name is not that of a unit, or a score is not a finite number.
    """
    if not isinstance(scores, Mapping):
        given = "the criterion itself: pass `criterion(model)`"
        raise TypeError(
            "A criterion must return a dict from unit name to number. Received: "
            f"{given if callable(scores) else type(scores).__name__}."
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
    """Raises a ValueError if `scores` is empty."""
    if not scores:
        raise ValueError(
            f"'{model.name}' has no unit that the criterion scores and that can be "
            "removed."
            + advice(
                " |ω| needs an ImportanceScale on the branch of each unit: call "
                "`add_importance(model)` and train the model. For a trained model, "
                "pass another criterion, such as `criteria.block_influence(images)`.",
                ANOTHER,
            )
        )
