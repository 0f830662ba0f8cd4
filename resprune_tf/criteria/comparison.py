"""Compares all criteria on one model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.criteria.by_name import check_scores
from resprune_tf.criteria.example_loss import example_loss
from resprune_tf.criteria.loss_check import check_loss, compiled_loss
from resprune_tf.criteria.registry import (
    ANOTHER,
    COMPARED,
    LABELLED,
    NAMES,
    ON_EXAMPLES,
    check_name,
    make,
)
from resprune_tf.criteria.score_table import ScoreTable
from resprune_tf.data.examples import check_images, check_label_count, count_images
from resprune_tf.graph.outputs import loss_name
from resprune_tf.system.advice import advice
from resprune_tf.system.progress import Reporter, is_shown, shown, tracked
from resprune_tf.training import recalibration
from resprune_tf.units.finding import find_units, scored_units
from resprune_tf.units.table import unsearched


def compare_scores(
    model: keras.Model,
    images: Any,
    labels: Any = None,
    loss: Any = None,
    criteria: Sequence | None = None,
    batch_size: int = 128,
    recalibrate: bool = False,
    seed: int = 0,
    verbose: bool = True,
) -> ScoreTable:
    """Scores a model's units by several criteria and compares the rankings.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.
        images: array `(images, height, width, channels)`, or any other array
            `(images, ...)` that the model takes; a list, tuple or dict of arrays if it
            has several inputs.
        labels: array `(images, ...)`, one label per image, in the form that `loss`
            takes. None leaves out the criteria that need labels.
        loss: a `keras.losses.Loss`, its name, or a function of labels and outputs that
            returns one value per image. Defaults to the loss that the model is
            compiled with, or to the cross entropy of logits if it is not compiled.
        criteria: list of names from `criteria.NAMES`, and of functions from a model to
            `{unit name: score}`, whose `__name__` is the column heading. Defaults to
            all names except `largest`, the opposite of `importance`, and
            `l1_importance`, which trains and takes as long as all others together.
        batch_size: int, images per step.
        recalibrate: if True, criteria that use images score a copy of the model whose
            BatchNormalization statistics are re-estimated from `images`.
        seed: int, seed of `random` and `l1_importance`.
        verbose: if True, and if stderr is a terminal, it shows which criterion is
            being computed.

    Returns:
        A `ScoreTable`. With the default of `criteria`, it lists the criteria that could
        not be computed, with reasons.

    Raises:
        TypeError: if `model` is not functional, `criteria` is a string, or a criterion
            does not return a dict.
        ValueError: if the model has no removable unit, if there are no images, if the
            numbers of images and labels differ, if one of `criteria` is unknown or
            cannot be computed, if two have the same name, or if no criterion that uses
            images can be computed.

    >>> print(compare_scores(model, images, labels))
    """
    graph.check_functional(model, "compare_scores")
    check_images(images, batch_size)
    if labels is not None:
        check_label_count(images, labels)
        if loss is None:
            loss = compiled_loss(model, labels)
    example_loss(loss)
    found, units = find_units(model), scored_units(model)
    if not units:
        raise ValueError(
            f"'{model.name}' has no removable unit that could be scored."
            f"{unsearched(found)}"
        )

    def create(name):
        check_possible(name, model, units, labels, loss)
        # The model is recalibrated below. Only leave_one_out recalibrates again,
        # because the statistics change without a unit.
        again = recalibrate and name == "leave_one_out"
        return make(name, images, labels, loss, batch_size, again, seed)

    chosen, omitted = _chosen(criteria, create)
    given = (
        recalibration.recalibrate(model, images, batch_size) if recalibrate else model
    )
    scores, failed = {}, {}
    # Functions of the caller come first: they may fail, and others take long.
    order = sorted(chosen, key=lambda name: chosen[name] not in (criteria or ()))
    with _watched(verbose):
        # The criteria take very different times.
        for name in tracked(order, "Scoring units by {}".format, even=False):
            try:
                returned = chosen[name](model if name == "leave_one_out" else given)
                scores[name] = _of_all(name, check_scores(returned, found), units)
            except Exception as error:
                if criteria is not None or not isinstance(error, ValueError):
                    error.add_note(f"The error is that of the criterion '{name}'.")
                    raise
                failed[name] = error
    if failed and not set(scores).intersection(ON_EXAMPLES):
        raise next(iter(failed.values()))  # such as images that do not fit the model
    names = [unit.name for unit in units]
    return ScoreTable(
        model=model.name,
        images=count_images(images),
        units={u.name: {"parameters": u.parameters, "macs": u.macs} for u in units},
        scores={name: scores[name] for name in chosen if name in scores},
        omitted={**omitted, **{name: str(error) for name, error in failed.items()}},
        unscored={
            unit.name: "no ω, which others have" if unit.removable else "not removable"
            for unit in found
            if unit.name not in names
        },
        loss=loss_name(loss) if set(scores).intersection(LABELLED) else None,
    )


def _watched(verbose):
    """Shows progress on a terminal, unless it is shown already; never in a log file."""
    if not verbose or is_shown():
        return contextlib.nullcontext()
    return shown(Reporter(sys.stderr, lines=False))


def _chosen(criteria, create):
    """Criteria by their names, and reasons why others are left out by default.

    Args:
        criteria: as for `compare_scores`.
        create: function from the name of a criterion to the criterion.
    """
    if isinstance(criteria, str):
        raise TypeError(
            f"`criteria` must be a list, such as [{criteria!r}]. "
            f"Received: {criteria!r}."
        )
    chosen, omitted = {}, {}
    for criterion in COMPARED if criteria is None else criteria:
        name = criterion
        try:
            if callable(criterion):
                name = getattr(criterion, "__name__", type(criterion).__name__)
            else:
                criterion = create(name)
        except ValueError as error:
            if criteria is not None:
                raise
            omitted[name] = str(error)
            continue
        if name in chosen:
            raise ValueError(
                f"Two criteria have the name '{name}', which must be unique as it is "
                "the column heading. Give one of them another `__name__`."
            )
        chosen[name] = criterion
    if not chosen:
        raise ValueError(
            "`criteria` must not be empty. Pass functions, or some of these names: "
            f"{', '.join(NAMES)}."
        )
    return chosen, omitted


def _of_all(name, scores, units):
    """The scores of `units` in their order; every one of them must have a score."""
    expected = [unit.name for unit in units]
    if missing := [unit for unit in expected if unit not in scores]:
        raise ValueError(
            f"The criterion '{name}' must score the units {', '.join(expected)}. "
            f"Scores are missing for {', '.join(missing)}."
        )
    return {unit: scores[unit] for unit in expected}


def check_possible(name, model, units, labels, loss):
    """Raises a ValueError if a model cannot be scored by the criterion `name`."""
    check_name(name)
    if name in ("importance", "largest") and not units[0].importance:
        raise ValueError(
            f"'{model.name}' has no "
            + advice(
                "ImportanceScale on its branches. Call `add_importance` and train the "
                "result.",
                "learned factors ω, which `resprune prune --criterion importance` "
                f"trains.{ANOTHER}",
            )
        )
    if name in LABELLED:
        if labels is None:
            raise ValueError(f"{name} needs labels, and none were given.")
        check_loss(model, name, labels, loss)
