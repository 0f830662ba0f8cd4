"""All criteria on one model, side by side."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import keras

from resprune_tf import criteria as known
from resprune_tf import graph
from resprune_tf.criteria.example_loss import example_loss
from resprune_tf.criteria.loss_check import check_loss, other_loss
from resprune_tf.criteria.registry import ANOTHER, COMPARED, check_name
from resprune_tf.criteria.score_table import ScoreTable
from resprune_tf.data.examples import check_images, check_label_count, count_images
from resprune_tf.graph.outputs import loss_name
from resprune_tf.system.advice import advice
from resprune_tf.system.progress import Reporter, is_shown, shown, tracked
from resprune_tf.training import recalibration
from resprune_tf.units.finding import find_units, scored_units


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
    """The scores of a model's units by every criterion that can be computed.

    Args:
        model: a functional `keras.Model`; it is only read.
        images: `(images, height, width, channels)`, or any other array `(images, ...)`
            that the model takes; a list, tuple or dict of them where it has several
            inputs.
        labels: what `loss` compares outputs with, one for each image. None leaves out
            the criteria that need them.
        loss: a `keras.losses.Loss`, its name, or a function of labels and outputs;
            see `example_loss`. None is the one that the model is compiled with, and
            the cross entropy of logits if it is not compiled.
        criteria: names of `criteria.NAMES`, and functions from a model to
            `{unit name: score}`, whose `__name__` heads their column. None takes all
            names but `largest`, the opposite of `importance`, and `l1_importance`,
            which trains and takes as long as all others together.
        batch_size: images a step.
        recalibrate: whether the criteria that look at images first have the
            BatchNormalization statistics estimated anew from them.
        seed: int, of `random` and `l1_importance`.
        verbose: whether a terminal shows which criterion is being computed.

    Returns:
        A `ScoreTable`. Where `criteria` is None it tells what was left out, and why.

    Raises:
        TypeError: if `model` is not functional, or one of `criteria` returns no dict.
        ValueError: if it has no removable unit; if there are no images, or not as many
            labels; if one of `criteria` is unknown or cannot be computed; or if none
            that looks at images can be, although `criteria` is None.

    >>> print(compare_scores(model, images, labels))
    """
    graph.check_functional(model, "compare_scores")
    check_images(images, batch_size)
    if labels is not None:
        check_label_count(images, labels)
        if loss is None:
            loss = other_loss(model, labels)
    example_loss(loss)
    found, units = find_units(model), scored_units(model)
    if not units:
        raise ValueError(f"'{model.name}' has no removable unit that could be scored.")
    chosen, left_out = _chosen(
        criteria, model, units, images, labels, loss, batch_size, recalibrate, seed
    )
    # One recalibration serves all but the one that recalibrates without each unit.
    given = (
        recalibration.recalibrate(model, images, batch_size) if recalibrate else model
    )
    scores, failed = {}, {}
    with _watched(verbose):
        for name in tracked(chosen, "Scoring units by {}".format):
            try:
                returned = chosen[name](model if name == "leave_one_out" else given)
                scores[name] = _of_all(name, known.check_scores(returned, found), units)
            except ValueError as error:
                if criteria is not None:
                    raise
                failed[name] = error
    if failed and not set(scores).intersection(known.ON_EXAMPLES):
        raise next(iter(failed.values()))  # such as images that do not fit the model
    names = [unit.name for unit in units]
    return ScoreTable(
        model=model.name,
        images=count_images(images),
        units={u.name: {"parameters": u.parameters, "macs": u.macs} for u in units},
        scores=scores,
        left_out={**left_out, **{name: str(error) for name, error in failed.items()}},
        unscored={
            unit.name: "no ω, which others have" if unit.removable else "not removable"
            for unit in found
            if unit.name not in names
        },
        loss=loss_name(loss) if set(scores).intersection(known.LABELLED) else None,
    )


def _watched(verbose):
    """Shows progress on a terminal where nothing shows it yet; no log file gets it."""
    if not verbose or is_shown():
        return contextlib.nullcontext()
    return shown(Reporter(sys.stderr, lines=False))


def _chosen(criteria, model, units, images, labels, loss, batch_size, *options):
    """Criteria by their names, and why others are left out where all are tried."""
    chosen, left_out = {}, {}
    for criterion in COMPARED if criteria is None else criteria:
        name = criterion
        try:
            if callable(criterion):
                name = getattr(criterion, "__name__", type(criterion).__name__)
            else:
                check_possible(name, model, units, labels, loss)
                criterion = _made(name, images, labels, loss, batch_size, *options)
        except ValueError as error:
            if criteria is not None:
                raise
            left_out[name] = str(error)
            continue
        if name in chosen:
            raise ValueError(
                f"Two criteria have the name '{name}', which heads their column. Give "
                "one of them another `__name__`."
            )
        chosen[name] = criterion
    if not chosen:
        raise ValueError(f"No criterion was given. Some: {', '.join(known.NAMES)}.")
    return chosen, left_out


def _of_all(name, scores, units):
    """The scores in the order of the units, of which none may be missing."""
    expected = [unit.name for unit in units]
    if set(scores) != set(expected):
        raise ValueError(
            f"The criterion '{name}' must score the units {', '.join(expected)}. "
            f"Received: {', '.join(scores) or 'no scores'}."
        )
    return {unit: scores[unit] for unit in expected}


def check_possible(name, model, units, labels, loss):
    """Raises a ValueError if a model cannot be scored by the criterion of a name."""
    check_name(name)
    if name in ("importance", "largest") and not units[0].importance:
        raise ValueError(
            f"'{model.name}' has no "
            + advice(
                "ImportanceScale on its branches. `add_importance` puts one there; it "
                "says something once it is trained.",
                "learned factors ω, which `resprune prune --criterion importance` "
                f"trains.{ANOTHER}",
            )
        )
    if name in known.LABELLED:
        if labels is None:
            raise ValueError("It needs labels.")
        check_loss(model, name, labels, loss)


def _made(name, images, labels, loss, batch_size, recalibrate, seed):
    # The model is recalibrated already; without a unit its statistics are others.
    again = recalibrate and name == "leave_one_out"
    return known.make(name, images, labels, loss, batch_size, again, seed)
