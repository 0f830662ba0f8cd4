"""Criteria by name, on the data of the command line."""

import dataclasses

from resprune_cli.options.usage import WrongUse
from resprune_cli.work import data_source, terms
from resprune_tf import criteria
from resprune_tf.criteria.comparison import compare_scores
from resprune_tf.criteria.registry import ANOTHER, CRITERIA
from resprune_tf.units.finding import find_units, scored_units


def table(model, args, names=None):
    """The `ScoreTable` of a model on data, and a doubt about it in words, or None.

    Args:
        model: a functional `keras.Model`.
        args: parsed arguments.
        names: list of criteria, or None for all that can be.

    Raises:
        WrongUse: if data do not fit, or a criterion cannot be computed.
    """
    if not scored_units(model):
        raise WrongUse(f"There is nothing to score. {find_units(model)}")
    data = data_source.read(args, model)
    for name in names or ():
        _check_labels(name, data.labelled, "--criteria")
    x, y, loss = scored_on(model, data, args)
    if names is not None:
        names = [_rated(name, x, y, loss, args) for name in names]
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
    doubt = None
    if data.labelled:
        doubt = terms.doubt(model, terms.evaluate(model, x, y, args.batch_size))
    return dataclasses.replace(found, omitted=omitted), doubt


def _rated(name, x, y, loss, args):
    """A criterion's name, or it itself if it is given another learning rate."""
    rate = args.l1_learning_rate
    if rate is None or "learning_rate" not in CRITERIA[name].options:
        return name
    criterion = criteria.make(
        name, x, y, loss, args.batch_size, seed=args.seed, learning_rate=rate
    )
    criterion.__name__ = name  # of its column
    return criterion


def _check_labels(name, labelled, option):
    if name in criteria.LABELLED and not labelled:
        raise WrongUse(f"{option} {name} needs labels, and the data have none.")


def scored_on(model, data, args):
    """Inputs, labels (or None) and loss (or None) that scores are taken on."""
    x, y = data.splits["train"]
    loss = None
    if data.labelled:
        y = terms.compile_for_labels(model, data, args)["train"][1]
        loss = model.loss
    count = getattr(args, "score_examples", 512)  # `inspect` has no such option
    return *data_source.sample(x, y, count, args.seed), loss


def usual_criterion(model):
    """Name of what a model's units are scored by if nothing else is asked for."""
    # An ω that is still 1 was never trained, and tells nothing.
    trained = any(factor != 1 for factor in criteria.importance(model).values())
    return "importance" if trained else "block_influence"


def criterion(name, model, data, args):
    """The criterion of a name, on training examples.

    Raises:
        WrongUse: if it needs data or labels and there are none.
    """
    x = y = loss = None
    if name in criteria.ON_EXAMPLES:
        if data is None:
            raise WrongUse(f"--criterion {name} looks at examples: give --data.")
        x, y, loss = scored_on(model, data, args)
        _check_labels(name, data.labelled, "--criterion")
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
