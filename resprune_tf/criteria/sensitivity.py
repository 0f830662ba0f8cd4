"""Criteria based on the size of a branch, and on its effect on the loss.

Each function here returns a criterion: a function from a model to
`{unit name: score}` for `scored_units(model)`, in that order; the smallest score is
removed first. The model is not changed. Images are arrays in the range that the model
takes, such as raw pixels (0 to 255). They should come from the training split, because
held-out images select the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.backend import get_keras_mask

from resprune_tf import graph
from resprune_tf.criteria.example_loss import example_loss, loss_details
from resprune_tf.criteria.gates import add_gates, find_gates, gate_gradients
from resprune_tf.criteria.loss_check import check_loss
from resprune_tf.criteria.probing import unit_means
from resprune_tf.criteria.scoring import criterion_on, with_details
from resprune_tf.data.examples import (
    batch_count,
    check_images,
    check_label_count,
    count_images,
    labelled_batches,
)
from resprune_tf.nets.importance import SUFFIX
from resprune_tf.system.progress import tracked_part
from resprune_tf.training import recalibration
from resprune_tf.units.finding import scored_units
from resprune_tf.units.importances import importances


def output_norm(
    images: Any, batch_size: int = 128, recalibrate: bool = False
) -> Callable:
    """Creates a criterion: norm of the branch relative to the norm of the shortcut.

    The score is the mean over images of `||ω·F(x)|| / ||x||`, the Euclidean norms of
    the two addends of the unit. A unit with score 0 does nothing.

    Args:
        images: array `(images, height, width, channels)`, or any other array
            `(images, ...)` that the model takes; a list, tuple or dict of arrays if it
            has several inputs.
        batch_size: int, images per step.
        recalibrate: if True, a copy of the model is scored whose BatchNormalization
            statistics are re-estimated from `images`.

    Returns:
        A criterion.

    Raises:
        ValueError: if there are no images.

    Reference: Jastrzębski et al., Residual Connections Encourage Iterative Inference,
    arXiv:1710.04773, who measure by this ratio how much a unit changes its input.

    >>> scores = output_norm(images)(model)
    """

    def score(model):
        norms = unit_norms(model, images, batch_size)
        return {name: norm.ratio for name, norm in norms.items()}

    return criterion_on(images, "output_norm", score, batch_size, recalibrate)


@dataclasses.dataclass(frozen=True)
class UnitNorms:
    """Norms of the parts of a unit's sum `x + ω·F(x)`, means over images.

    Attributes:
        importance: ω; None if the unit has no ω and adds F(x) itself.
        scaled: Euclidean norm of ω·F(x).
        branch: Euclidean norm of F(x).
        shortcut: Euclidean norm of x.
        ratio: mean of the ratios of the norms of ω·F(x) and x, per image.
    """

    importance: float | None
    scaled: float
    branch: float
    shortcut: float
    ratio: float


def unit_norms(model, images, batch_size=128):
    """Norms of the branch and the shortcut of each unit (Figure 5 of the paper).

    Args:
        model: a functional `keras.Model`; it is not changed.
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
    """Creates a criterion: first-order estimate of how removal changes the loss.

    Every branch is multiplied by a gate g = 1. The score is the mean over images of
    `(dL/dg)²`, where L is the loss of an image: setting g to 0 changes L by -dL/dg to
    first order. The gradient is squared per image, not per batch, because the mean of
    `dL/dg = ω dL/dω` over a whole training set nearly vanishes for a trained model.

    Args:
        images, batch_size, recalibrate: see `output_norm`.
        labels: one label per image: integers `(images,)`, one-hot rows
            `(images, classes)`, or an array `(images, ...)` that `loss` takes.
        loss: a `keras.losses.Loss`, its name, or a function of labels and outputs that
            returns one value per image. Defaults to the cross entropy of logits.

    Returns:
        A criterion. It raises a ValueError if the model has several outputs, if the
        loss cannot be computed from its output and the labels, or if no `loss` was
        given and the default does not fit: the model is compiled with another loss or
        outputs probabilities, or the labels are not classes.

    Raises:
        ValueError: if there are no images, another number of labels than of images, or
            no loss of this name.

    Reference: Molchanov et al., Importance Estimation for Neural Network Pruning,
    arXiv:1906.10771, the gate method with mini-batches of one image.

    >>> scores = taylor(images, labels)(model)
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
        for batch, targets in tracked_part(
            labelled_batches(images, labels, batch_size),
            "Computing the gradients of taylor, batch",
            batch_count(images, batch_size),
        ):
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
    """Creates a criterion: increase of the mean loss if only this unit is removed.

    The branch of the unit is multiplied by 0, which is equivalent to its removal, so
    one compiled model serves all units. The score is negative if the loss decreases.

    Args:
        images, labels, batch_size, loss: see `taylor`.
        recalibrate: if True, the BatchNormalization statistics are re-estimated from
            `images`, for the whole model and again without each unit.

    Returns:
        A criterion. It raises a ValueError in the same cases as that of `taylor`.

    Raises:
        ValueError: as for `taylor`.

    Reference: Veit et al., Residual Networks Behave Like Ensembles of Relatively
    Shallow Networks, arXiv:1605.06431, the lesion study.

    >>> scores = leave_one_out(images, labels, recalibrate=True)(model)
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
        # Recalibration runs a copy of the model, whose gates must be set too.
        all_gates = {name: [gate] for name, gate in gates.items()}
        if recalibrate:
            statistics = recalibration.Recalibration(gated)
            copies = find_gates(statistics.recorder)
            for name, gate in gates.items():
                all_gates[name].append(copies[gate.name])

        def mean_loss(without=None):
            for name, gates_of_unit in all_gates.items():
                for gate in gates_of_unit:
                    gate.set(0.0 if name == without else 1.0)
            if recalibrate:
                statistics.run(images, batch_size)
            total = 0.0
            for batch, targets in tracked_part(
                labelled_batches(images, labels, batch_size),
                "Computing the loss, batch",
                batch_count(images, batch_size),
            ):
                values = losses(targets, _outputs(gated, batch))
                total += ops.convert_to_numpy(values).astype("float64").sum()
            return total / count_images(images)

        whole = mean_loss()
        names = tracked_part([unit.name for unit in units], "Scoring without {}".format)
        return {name: float(mean_loss(name) - whole) for name in names}

    return with_details(
        criterion, images, "leave_one_out", recalibrate, loss_details(loss)
    )


def _outputs(model, batch):
    """The output of a model in inference mode, with its Keras mask if it has one."""
    if get_keras_mask(model.outputs[0]) is not None:
        return model(batch, training=False)  # `predict_on_batch` drops the mask
    return model.predict_on_batch(batch)


def _norm(tensor):
    """Euclidean norm of each image's values, float32 `(batch,)`."""
    axes = tuple(range(1, len(tensor.shape)))
    return ops.sqrt(ops.sum(ops.square(ops.cast(tensor, "float32")), axis=axes))
