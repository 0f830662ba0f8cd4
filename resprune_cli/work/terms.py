"""What a model is measured by: its loss, its metric, its optimizer."""

import contextlib
import math
import re

import keras
import numpy as np

from resprune_cli.options.usage import WrongUse
from resprune_tf.graph.outputs import decides, probabilities
from resprune_tf.training.labels import check_targets, classified

_CROSS_ENTROPIES = {
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
}

# What Keras calls the share of examples that are right.
_ACCURACIES = (
    "accuracy",
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "binary_accuracy",
)


def compile_for_labels(model, data, args):
    """Compiles a model where it must be, and brings labels into its loss's form.

    Args:
        model: a functional `keras.Model`; compiled in place.
        data: a `Data` with labels.
        args: parsed arguments: `loss`, `metric`, perhaps `optimizer`.

    Returns:
        dict from the name of a split to `(x, y)`.

    Raises:
        WrongUse: if names are unknown, or labels do not fit the outputs.
    """
    if len(model.outputs) != 1:
        raise WrongUse(
            f"'{model.name}' has {len(model.outputs)} outputs; the command line "
            "measures models of one."
        )
    if not data.labelled:
        raise WrongUse(
            "The data have no labels, which loss and metrics need. In an .npz file "
            "they are named y or labels."
        )
    outputs = model.outputs[0].shape
    optimizer = getattr(args, "optimizer", None)
    if not model.compiled or args.loss or args.metric or optimizer:
        labels = data.splits["train"][1]
        loss = _loss(args.loss or _usual(labels, outputs, args), model)
        metrics = [args.metric] if args.metric else []
        if not metrics and isinstance(loss, tuple(_CROSS_ENTROPIES.values())):
            metrics = ["accuracy"]
        try:
            for metric in metrics:
                if metric != "accuracy":
                    keras.metrics.get(metric)
            optimizer = keras.optimizers.get(optimizer or "adam")
        except ValueError as error:
            raise WrongUse(str(error).splitlines()[0]) from error
        model.compile(optimizer, loss, metrics=metrics)
    kind, splits = full_loss_name(model), {}
    for name, (x, y) in data.splits.items():
        splits[name] = x, _labels(y, kind, outputs)
        try:
            check_targets(model, splits[name][1], name)
        except ValueError as error:
            raise WrongUse(str(error)) from error
    return splits


def full_loss_name(model):
    """Name of a compiled model's loss, such as `"mean_squared_error"`."""
    loss = model.loss
    if isinstance(loss, str):
        with contextlib.suppress(ValueError):  # of names that Keras settles later
            loss = keras.losses.get(loss)  # "mse" is short for one
    return getattr(loss, "name", None) or getattr(loss, "__name__", str(loss))


def describe_compiled(model):
    """What a compiled model is trained and measured by, in words."""
    logits = getattr(model.loss, "get_config", dict)().get("from_logits")
    name = re.sub(r"_\d+$", "", model.optimizer.name)  # Keras numbers what it makes
    return f"{full_loss_name(model)}{' of logits' if logits else ''}, {name}"


def monitored(measured, asked=None):
    """The measure that rounds are judged by.

    Args:
        measured: names of what the model measures.
        asked: what the user wants, or None for accuracy, else the first metric, else
            the loss.

    Raises:
        WrongUse: if what was asked for is not measured.
    """
    if asked is not None:
        if asked not in measured:
            raise WrongUse(
                f"--monitor '{asked}' is not measured. Measured: {', '.join(measured)}."
            )
        return asked
    others = [name for name in measured if name != "loss"]
    return "accuracy" if "accuracy" in others else (others or ["loss"])[0]


def guessing(model, measured):
    """A sentence on a classifier that does hardly better than guessing; else None.

    Args:
        model: a compiled `keras.Model` of one output.
        measured: dict from name to number; without an accuracy there is no telling.
    """
    classes = max(2, model.outputs[0].shape[-1] or 2)
    found = [measured[name] for name in _ACCURACIES if name in measured]
    if not found:
        return None
    accuracy, loss = found[0], measured.get("loss", 0.0)
    # The share that is right of what guessing has wrong.
    skill = (accuracy * classes - 1) / (classes - 1)
    # A loss above that of equal shares for all classes is of one that is sure and
    # wrong. An overconfident model has that, too, but is right more often.
    wrong = full_loss_name(model) in _CROSS_ENTROPIES and loss > math.log(classes)
    if accuracy * classes > 1.3 and not (wrong and skill < 0.2):
        return None
    told = f"The accuracy is {accuracy:.2%}, and guessing gives 1 in {classes}"
    if wrong:
        told += f"; the loss is {loss:.3g}, and guessing gives {math.log(classes):.3g}"
    return f"{told}."


def doubt(model, measured):
    """Lines on a classifier that does hardly better than guessing; else None."""
    if (told := guessing(model, measured)) is None:
        return None
    return (
        f"{told} Check the input scaling (--pixels) and the order of the class labels."
    )


def check_doubt(model, measured, args):
    """Whether a model guesses, which is printed, and is an error unless allowed.

    Raises:
        WrongUse: if it does hardly better than guessing, without `allow_guessing`.
    """
    told = doubt(model, measured)
    if told and not args.allow_guessing:
        raise WrongUse(
            f"{told} If the model is as it should be, such as one that is not trained "
            "yet, go on with --allow-guessing."
        )
    if told:
        print(told, flush=True)
    return told is not None


def _usual(labels, outputs, args):
    """Name of the loss that labels and outputs suggest."""
    whole = labels.dtype.kind in "iub"
    if len(outputs) == 2 and outputs[1] is not None and outputs[1] > 1:
        if labels.ndim == 1 and whole:
            return "sparse_categorical_crossentropy"
        if labels.shape[1:] == tuple(outputs[1:]) and set(np.unique(labels)) <= {0, 1}:
            return "categorical_crossentropy"
    if len(outputs) == 2 and outputs[1] == 1 and whole and labels.max() <= 1:
        return "binary_crossentropy"
    raise WrongUse(
        "Which loss fits is not known: the model was not saved with one, its output "
        f"has the shape {tuple(outputs)}, and labels are {labels.dtype.name} "
        f"{list(labels.shape)}. Give --loss, such as mean_squared_error."
    )


def _loss(name, model):
    if name in _CROSS_ENTROPIES:
        return _CROSS_ENTROPIES[name](from_logits=probabilities(model) is None)
    try:
        return keras.losses.get(name)
    except ValueError as error:
        raise WrongUse(f"Keras has no loss '{name}'.") from error


def _labels(y, kind, outputs):
    """Labels in the form that a loss takes: classes as numbers or in one-hot rows."""
    if y.dtype.kind not in "iubf":
        raise WrongUse(
            f"Labels must be numbers. Found: {y.dtype.name} values, such as "
            f"{y.flat[0]!r}. Number the classes from 0."
        )
    classes = outputs[-1]
    rows = y.ndim == len(outputs) and y.shape[-1] == classes and y.ndim > 1
    if kind == "sparse_categorical_crossentropy":
        return _classes(_numbered(y) if rows and classes > 1 else y, classes)
    if kind == "categorical_crossentropy" and not rows:
        return np.eye(classes, dtype="float32")[_classes(y, classes)]
    return y.astype("float32")


def _numbered(rows):
    """Classes of one-hot rows; shares of several classes are none."""
    if not np.all((rows == 0) | (rows == 1)) or not np.all(rows.sum(-1) == 1):
        raise WrongUse(
            "Labels must be classes for sparse_categorical_crossentropy: numbers, or "
            f"one-hot rows. Found: rows such as {rows[0].tolist()}. For shares of "
            "several classes give --loss categorical_crossentropy, for several labels "
            "of one example --loss binary_crossentropy."
        )
    return rows.argmax(-1)


def _classes(y, classes):
    """Labels as numbers of classes, int32."""
    if y.dtype.kind not in "iub" and not np.array_equal(y, np.rint(y)):
        raise WrongUse(f"Labels must be classes. Found: {y.dtype.name} values.")
    if y.min() < 0 or y.max() >= classes:
        raise WrongUse(
            f"The model tells {classes} classes, 0 to {classes - 1}; labels are "
            f"{y.min():g} to {y.max():g}."
        )
    return y.astype("int32")


def evaluate(model, x, y, batch_size):
    """What a compiled model measures: dict from name to float, the loss first."""
    found = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


def correct(model, x, y, batch_size, measured, like=None):
    """Which examples a compiled model classifies correctly, as in `Round.correct`.

    Args:
        measured: what `evaluate` returned.
        like: the model that tells whether outputs are classes; `model` by default.

    Returns:
        str, or None if it is no classifier whose accuracy was measured.
    """
    if "accuracy" not in measured or not decides(like or model):
        return None
    return classified(model, x, y, measured["accuracy"], batch_size)


def held_out(record):
    """The measures of a `Round`, by split."""
    splits = {"validation": record.validation, "test": record.test}
    return {name: measures for name, measures in splits.items() if measures}
