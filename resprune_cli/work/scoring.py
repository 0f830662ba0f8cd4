"""Scores units by the criteria that the command line names."""

import dataclasses

from resprune_cli.options.usage import WrongUse, warn
from resprune_cli.work import data_source, measuring
from resprune_tf import criteria
from resprune_tf.criteria.by_name import has_trained_importances
from resprune_tf.criteria.comparison import compare_scores
from resprune_tf.criteria.registry import ANOTHER, CRITERIA
from resprune_tf.system.progress import say
from resprune_tf.system.wording import counted
from resprune_tf.units.finding import find_units, scored_units


def table(model, args, names=None):
    """Scores the units of a model on data.

    If the model is no better than guessing, a warning is printed before units are
    scored, because scoring may take minutes.

    Args:
        model: a functional `keras.Model`.
        args: parsed arguments.
        names: list of criteria; None for the default ones that can be computed.

    Returns:
        The `ScoreTable`, and the warning or None.

    Raises:
        WrongUse: if the data do not fit the model, or if a criterion cannot be
            computed.
    """
    if not scored_units(model):
        raise WrongUse(f"There is nothing to score. {find_units(model)}")
    data = data_source.read(args, model)
    x, y, loss = scored_on(model, data, args)
    if names is not None:
        names = [_with_learning_rate(name, x, y, loss, args) for name in names]
    doubt = None
    if data.labelled:
        say(f"Measuring the accuracy on {counted(len(x), 'training example')} ...")
        measured = measuring.evaluate(model, x, y, args.batch_size)
        doubt = measuring.guessing_warning(model, measured, len(x))
        if doubt:
            warn(doubt, args)
    try:
        found = compare_scores(
            model,
            x,
            y,
            loss=loss,
            criteria=names,
            batch_size=args.batch_size,
            recalibrate=getattr(args, "recalibrate", False),
            seed=args.seed,
        )
    except ValueError as error:
        raise WrongUse(str(error)) from error
    omitted = {name: why.removesuffix(ANOTHER) for name, why in found.omitted.items()}
    return dataclasses.replace(found, omitted=omitted), doubt


def _with_learning_rate(name, x, y, loss, args):
    """The criterion with `--l1-learning-rate`; its name if that does not apply."""
    rate = args.l1_learning_rate
    if rate is None or "learning_rate" not in CRITERIA[name].options:
        return name
    criterion = criteria.make(
        name, x, y, loss, args.batch_size, seed=args.seed, learning_rate=rate
    )
    criterion.__name__ = name  # heading of its column
    return criterion


def scored_on(model, data, args):
    """Inputs, labels and loss for scoring; labels and loss may be None."""
    x, y = data.splits["train"]
    loss = None
    if data.labelled:
        y = measuring.compile_for_labels(model, data, args)["train"][1]
        loss = model.loss
    count = getattr(args, "score_examples", 512)  # `inspect` has no such option
    return *data_source.sample(x, y, count, args.seed), loss


def default_criterion(model):
    """Name of the criterion that scores a model's units by default."""
    return "importance" if has_trained_importances(model) else "block_influence"


def criterion(name, model, data, args):
    """The criterion with this name, on training examples if it uses examples.

    Raises:
        WrongUse: if it needs data and there are none, or if it cannot be computed.
    """
    x = y = loss = None
    if name in criteria.ON_EXAMPLES:
        if data is None:
            raise WrongUse(f"--criterion {name} scores on examples. Give --data.")
        x, y, loss = scored_on(model, data, args)
    try:
        return criteria.make(
            name,
            x,
            y,
            loss,
            args.batch_size,
            args.recalibrate,
            args.seed,
            args.l1_learning_rate,
        )
    except ValueError as error:
        raise WrongUse(str(error)) from error
