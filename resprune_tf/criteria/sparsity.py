"""A criterion that trains a factor per unit under an L1 penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from resprune_tf.criteria.example_loss import example_loss, loss_details
from resprune_tf.criteria.gates import add_gates, gate_gradients
from resprune_tf.criteria.loss_check import check_loss
from resprune_tf.criteria.registry import ANOTHER
from resprune_tf.criteria.scoring import criterion_on
from resprune_tf.data.examples import check_label_count, count_images, take, take_labels
from resprune_tf.system.advice import advice
from resprune_tf.system.progress import tracked_part
from resprune_tf.units.finding import scored_units


def l1_importance(
    images: Any,
    labels: Any,
    batch_size: int = 128,
    recalibrate: bool = False,
    loss: Any = None,
    l1: float = 0.03,
    learning_rate: float = 0.1,
    steps: int = 200,
    seed: int = 0,
) -> Callable:
    """Creates a criterion: size of a factor per unit, trained under an L1 penalty.

    Every branch is multiplied by a factor g, initially 1, in addition to its ω, if it
    has one. Only the factors are trained, on the mean loss plus `l1 * sum(|g|)`; the
    score is |g|. Each step follows the gradient of the loss and then moves every factor
    by `learning_rate * l1` towards 0, but not beyond. Plain gradient descent on |g|
    would oscillate around 0. The factor of a unit without influence on the loss reaches
    0 in `1 / (learning_rate * l1)` steps. The default number of steps is smaller, so
    that units do not tie at 0.

    Args:
        images, labels, batch_size, recalibrate, loss: see `taylor`.
        l1: float >= 0, weight of the penalty.
        learning_rate: float > 0.
        steps: int >= 1, number of steps, each on another random batch.
        seed: int, seed of the choice of batches.

    Returns:
        A criterion. It raises a ValueError in the same cases as that of `taylor`, and
        if the training diverges.

    Raises:
        ValueError: as for `taylor`, or if a number is out of range.

    References: Huang and Wang, Data-Driven Sparse Structure Selection,
    arXiv:1707.01213; Beck and Teboulle, A Fast Iterative Shrinkage-Thresholding
    Algorithm, 2009, for the step.

    >>> scores = l1_importance(images, labels)(model)
    """
    check_label_count(images, labels)
    if l1 < 0 or learning_rate <= 0 or steps < 1:
        raise ValueError(
            "`l1` must be >= 0, `learning_rate` > 0 and `steps` >= 1. "
            f"Received: l1={l1}, learning_rate={learning_rate}, steps={steps}."
        )
    losses = example_loss(loss)

    def score(model):
        units = scored_units(model)
        if not units:
            return {}
        gated, gates = add_gates(model, units)
        gradients = gate_gradients(gated, gates, losses)
        rng = np.random.default_rng(seed)
        count = count_images(images)
        size = min(batch_size, count)
        factors = np.ones(len(gates))
        for _ in tracked_part(range(steps), "Training factors of l1_importance, step"):
            rows = rng.choice(count, size, replace=False)
            found = gradients(take(images, rows), take_labels(labels, rows))
            slopes = np.array([ops.convert_to_numpy(g).item() for g in found]) / size
            factors = _shrink(factors - learning_rate * slopes, learning_rate * l1)
            if not np.all(np.isfinite(factors)):
                raise ValueError(
                    "The factors of l1_importance diverged at learning_rate="
                    f"{learning_rate:g}."
                    + advice(
                        " Try a smaller one: `criteria.l1_importance(images, "
                        f"labels, learning_rate={learning_rate / 10:g})`, also as an "
                        "element of `compare_scores(criteria=[...])`.",
                        " Give a smaller one: --l1-learning-rate "
                        f"{learning_rate / 10:g}.{ANOTHER}",
                    )
                )
            for gate, factor in zip(gates.values(), factors, strict=True):
                gate.set(factor)
        return dict(zip(gates, np.abs(factors), strict=True))

    def check(model):
        check_loss(model, "l1_importance", labels, loss)

    details = [
        *loss_details(loss),
        f"l1 {l1:g}",
        f"learning rate {learning_rate:g}",
        f"{steps} steps",
        f"seed {seed}",
    ]
    return criterion_on(
        images, "l1_importance", score, batch_size, recalibrate, details, check
    )


def _shrink(values, by):
    """Moves values towards 0, at most to 0: the proximal step of `by * |value|`."""
    return np.sign(values) * np.maximum(np.abs(values) - by, 0)
