"""Scores of units by what they add, and by what they do to the loss.

Each function here returns a criterion: a function from a model to
`{unit name: score}` for `scored_units(model)`, in their order, the smallest to be
removed first. Models take images as floats, 0 to 255 if they are pixels, and are only
read. Images belong to the training split: what is held out must not choose the net.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from resprune_tf import graph
from resprune_tf.criteria.example_loss import example_loss, loss_details
from resprune_tf.criteria.gates import add_gates, find_gates, gate_gradients
from resprune_tf.criteria.loss_check import check_loss
from resprune_tf.criteria.probing import unit_means
from resprune_tf.criteria.scoring import criterion_on, with_details
from resprune_tf.data.examples import (
    check_images,
    check_label_count,
    count_images,
    labelled_batches,
)
from resprune_tf.nets.importance import SUFFIX
from resprune_tf.system.progress import tracked
from resprune_tf.training import recalibration
from resprune_tf.units.finding import scored_units
from resprune_tf.units.importances import importances


def output_norm(
    images: Any, batch_size: int = 128, recalibrate: bool = False
) -> Callable:
    """How large the branch is beside the shortcut it is added to.

    The score is the mean over images of `||ω·F(x)|| / ||x||`, Euclidean norms of the
    two addends of the unit's sum. 0 is a unit that does nothing.

    Args:
        images: `(images, height, width, channels)`, or any other array `(images, ...)`
            that the model takes; a list, tuple or dict of them where it has several
            inputs.
        batch_size: images a step.
        recalibrate: whether the BatchNormalization statistics are first estimated
            anew from `images`.

    Raises:
        ValueError: if there are no images.

    Reference: the ratio by which Jastrzębski et al., arXiv:1710.04773, judge how much
    a residual unit changes its input.
    """

    def score(model):
        norms = unit_norms(model, images, batch_size)
        return {name: norm.ratio for name, norm in norms.items()}

    return criterion_on(images, "output_norm", score, batch_size, recalibrate)


@dataclasses.dataclass(frozen=True)
class UnitNorms:
    """How large the parts of a unit's sum `x + ω·F(x)` are: means over images.

    Attributes:
        importance: ω; None where the unit has none and so adds F(x) itself.
        scaled: Euclidean norm of ω·F(x), what the unit adds.
        branch: norm of F(x).
        shortcut: norm of x.
        ratio: of the norms of ω·F(x) and x, image by image.
    """

    importance: float | None
    scaled: float
    branch: float
    shortcut: float
    ratio: float


def unit_norms(model, images, batch_size=128):
    """Norms of what each unit adds and of what it adds it to (Figure 5 of the paper).

    Args:
        model: a functional `keras.Model`; it is only read.
        images, batch_size: see `output_norm`.

    Returns:
        dict from the name of each of `scored_units(model)` to its `UnitNorms`.

    Raises:
        ValueError: if there are no images.
        TypeError: if `model` is not functional.
    """
    check_images(images, batch_size)
    graph.check_functional(model, "unit_norms")

    def measure(call):
        scaled, branch = _norm(call.added), _norm(call.branch)
        shortcut = _norm(call.shortcut)
        ratio = scaled / ops.maximum(shortcut, keras.config.epsilon())
        return ops.stack([scaled, branch, shortcut, ratio], axis=-1)

    means = unit_means(model, images, batch_size, measure)
    omegas = importances(model)
    return {
        unit.name: UnitNorms(
            omegas[unit.importance.removesuffix(SUFFIX)] if unit.importance else None,
            *map(float, means[unit.name]),
        )
        for unit in scored_units(model)
    }


def taylor(
    images: Any,
    labels: Any,
    batch_size: int = 128,
    recalibrate: bool = False,
    loss: Any = None,
) -> Callable:
    """First-order estimate of how much the loss changes without the unit.

    A gate g = 1 multiplies every branch. The score is the mean over images of
    `(dL/dg)²`, L being an image's loss: closing the gate changes L by -dL/dg to first
    order. The squares are of single images, not of batches: over a whole training set
    `dL/dg = ω dL/dω` nearly vanishes for every unit of a trained net.

    Args:
        images, batch_size, recalibrate: see `output_norm`.
        labels: what `loss` compares the model's output with, one for each image:
            integers `(images,)`, one-hot rows, or an array `(images, ...)`.
        loss: a `keras.losses.Loss`, its name, or a function of labels and outputs;
            see `example_loss`. None is the cross entropy of logits.

    Raises:
        ValueError: if there are no images, or not as many labels, or no such loss. By
            the criterion, if the model has several outputs; if the loss cannot be
            computed from its output and the labels; or if no `loss` was given and the
            model is compiled with another one than the default, gives probabilities,
            or its labels are no classes.

    Reference: Molchanov et al., Importance Estimation for Neural Network Pruning,
    arXiv:1906.10771, its gate method with one image a mini-batch.
    """
    check_label_count(images, labels)
    losses = example_loss(loss)

    def score(model):
        units = scored_units(model)
        if not units:
            return {}
        count = count_images(images)
        gated, gates = add_gates(model, units, min(batch_size, count))
        gradients = gate_gradients(gated, gates, losses)
        squares = np.zeros(len(units))
        for batch, targets in labelled_batches(images, labels, batch_size):
            values = [ops.convert_to_numpy(g) for g in gradients(batch, targets)]
            squares += np.square(np.array(values, "float64")).sum(axis=1)
        return dict(zip(gates, squares / count, strict=True))

    def check(model):
        check_loss(model, "taylor", labels, loss)

    details = loss_details(loss)
    return criterion_on(
        images, "taylor", score, batch_size, recalibrate, details, check
    )


def leave_one_out(
    images: Any,
    labels: Any,
    batch_size: int = 128,
    recalibrate: bool = False,
    loss: Any = None,
) -> Callable:
    """By how much the mean loss grows when the unit alone is removed.

    The unit is silenced by a gate, which equals its removal, so that one compiled
    model serves all units. Negative if the net is better without it.

    Args:
        images, labels, batch_size, loss: see `taylor`.
        recalibrate: whether the BatchNormalization statistics are estimated anew
            from `images` for the net as it is and for the net without each unit.

    Raises:
        ValueError: as for `taylor`.

    Reference: the lesion study of Veit et al., arXiv:1605.06431.
    """
    check_images(images, batch_size)
    check_label_count(images, labels)
    losses = example_loss(loss)

    def criterion(model):
        graph.check_functional(model, "leave_one_out")
        check_loss(model, "leave_one_out", labels, loss)
        units = scored_units(model)
        if not units:
            return {}
        gated, gates = add_gates(model, units)
        twins = {name: [gate] for name, gate in gates.items()}
        if recalibrate:
            statistics = recalibration.Recalibration(gated)
            others = find_gates(statistics.recorder)
            for gates_of_unit in twins.values():
                gates_of_unit.append(others[gates_of_unit[0].name])

        def mean_loss(without=None):
            for name, gates_of_unit in twins.items():
                for gate in gates_of_unit:
                    gate.set(0.0 if name == without else 1.0)
            if recalibrate:
                statistics.run(images, batch_size)
            total = 0.0
            for batch, targets in labelled_batches(images, labels, batch_size):
                values = losses(targets, gated.predict_on_batch(batch))
                total += ops.convert_to_numpy(values).astype("float64").sum()
            return total / count_images(images)

        whole = mean_loss()
        names = tracked([unit.name for unit in units], "Scoring without {}".format)
        return {name: float(mean_loss(name) - whole) for name in names}

    return with_details(
        criterion, images, "leave_one_out", recalibrate, loss_details(loss)
    )


def _norm(tensor):
    """Euclidean norm of each image's values, float32 `(batch,)`."""
    axes = tuple(range(1, len(tensor.shape)))
    return ops.sqrt(ops.sum(ops.square(ops.cast(tensor, "float32")), axis=axes))
