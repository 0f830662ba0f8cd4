"""Compiles models for the labels of the data, and measures them."""

import contextlib
import math
import re

import keras
import numpy as np
from scipy import special

from resprune_cli.options.archives import NUMBER_CLASSES
from resprune_cli.options.usage import WrongUse, warn
from resprune_cli.work import data_source
from resprune_tf.graph.outputs import decides, probabilities
from resprune_tf.runs.callbacks import EvaluationProgress
from resprune_tf.runs.judging import format_p, format_value
from resprune_tf.system.progress import say
from resprune_tf.system.wording import counted, first_line
from resprune_tf.training.labels import check_targets, classified

_CROSS_ENTROPIES = {
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
}

# Keras's names for the fraction of correct examples.
_ACCURACIES = (
    "accuracy",
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "binary_accuracy",
)


def compile_for_labels(model, data, args, logits=None):
    """Compiles a model if necessary, and converts labels to the form of its loss.

    Args:
        model: a functional `keras.Model`; it is compiled in place.
        data: a `Data` with labels.
        args: parsed arguments with `loss` and `metric`, and optionally `optimizer`.
        logits: whether the outputs are logits instead of probabilities; None if the
            last operation of the model tells.

    Returns:
        dict from the name of a split to `(x, y)`.

    Raises:
        WrongUse: if a name is unknown, or if the labels do not fit the outputs.
    """
    if len(model.outputs) != 1:
        raise WrongUse(
            f"'{model.name}' has {len(model.outputs)} outputs, but the command line "
            "measures only models with one output."
        )
    if not data.labelled:
        raise WrongUse(
            "The data have no labels, but loss and metrics need them. In an .npz file, "
            "name them y or labels."
        )
    _compile(model, data.splits["train"][1], args, logits)
    outputs = model.outputs[0].shape
    kind, splits = full_loss_name(model), {}
    for name, (x, y) in data.splits.items():
        splits[name] = x, _labels(y, kind, outputs)
        try:
            check_targets(model, splits[name][1], name)
        except ValueError as error:
            raise WrongUse(str(error)) from error
    return splits


def _compile(model, labels, args, logits):
    """Compiles a model; each option replaces its own setting of a compiled one."""
    optimizer = getattr(args, "optimizer", None)
    settings = {}
    if model.compiled:
        if not (args.loss or args.metric or optimizer):
            return
        settings = keras.saving.deserialize_keras_object(model.get_compile_config())
    outputs = model.outputs[0].shape
    new_loss = args.loss or not model.compiled
    if new_loss:
        if logits is None:
            logits = probabilities(model) is None
        loss = _loss(args.loss or _suitable_loss(labels, outputs), logits)
        settings.update(loss=loss, loss_weights=None)
    try:
        if new_loss or args.metric:
            metrics = _metrics(args.metric, settings["loss"], outputs)
            settings.update(metrics=metrics, weighted_metrics=None)
        if optimizer or not model.compiled:
            settings["optimizer"] = keras.optimizers.get(optimizer or "adam")
    except ValueError as error:
        raise WrongUse(first_line(error)) from error
    model.compile(**settings)


def _metrics(name, loss, outputs):
    """The metric of a name, or by default accuracy with a cross entropy, as a list."""
    metrics = [name] if name else []
    if not metrics and isinstance(loss, tuple(_CROSS_ENTROPIES.values())):
        metrics = ["accuracy"]
    for metric in metrics:
        if metric != "accuracy":
            keras.metrics.get(metric)
    if isinstance(loss, keras.losses.BinaryCrossentropy) and _of_logits(loss):
        metrics = [_of_binary_logits(each, outputs) for each in metrics]
    return metrics


def full_loss_name(model):
    """The full name of a compiled model's loss, such as `"mean_squared_error"`."""
    loss = model.loss
    if isinstance(loss, str):
        with contextlib.suppress(ValueError):  # names that Keras resolves later
            loss = keras.losses.get(loss)  # "mse" is an abbreviation
    return getattr(loss, "name", None) or getattr(loss, "__name__", str(loss))


def _of_logits(loss):
    """Whether a loss expects logits."""
    return bool(getattr(loss, "get_config", dict)().get("from_logits"))


def _of_binary_logits(metric, outputs):
    """A metric whose threshold is that of logits, if it compares outputs with one.

    Args:
        metric: name of a metric.
        outputs: shape of the output.
    """
    if metric == "binary_accuracy" or (metric == "accuracy" and outputs[-1] == 1):
        # The logit of the probability 0.5 is 0, but Keras requires a positive number.
        least = float(np.finfo("float32").tiny)
        return keras.metrics.BinaryAccuracy(metric, threshold=least)
    return metric


def describe_compiled(model):
    """Loss and optimizer of a compiled model, as text."""
    logits = _of_logits(model.loss)
    name = re.sub(r"_\d+$", "", model.optimizer.name)  # Keras appends numbers
    return f"{full_loss_name(model)}{' of logits' if logits else ''}, {name}"


def monitored(measured, asked=None):
    """The name of the measure that pruned models are judged by.

    Args:
        measured: names of the loss and the metrics of the model.
        asked: name given by the user. None means accuracy if it is measured, otherwise
            the first metric, otherwise the loss.

    Raises:
        WrongUse: if the model does not measure `asked`.
    """
    if asked is not None:
        if asked not in measured:
            raise WrongUse(
                f"--monitor '{asked}' is not measured. Give one of these: "
                f"{', '.join(measured)}."
            )
        return asked
    others = [name for name in measured if name != "loss"]
    return "accuracy" if "accuracy" in others else (others or ["loss"])[0]


def guessing(model, measured, examples):
    """A sentence on a classifier that is no better than guessing; None for others.

    An accuracy must be significantly higher than that of guessing: if every example
    were guessed, as many correct ones must have a probability of at most 5 %. Besides,
    a cross entropy that is many times that of equal probabilities is reported, because
    pixels from 0 to 255 instead of 0 to 1 can leave some accuracy.

    Args:
        model: a compiled `keras.Model` with one output.
        measured: dict from the name of a measure to a number.
        examples: int, number of examples on which it was measured.
    """
    shape = model.outputs[0].shape
    classes = max(2, shape[-1] or 2)
    found = [measured[name] for name in _ACCURACIES if name in measured]
    even = math.log(classes)
    loss = measured.get("loss", 0.0)
    if full_loss_name(model) not in _CROSS_ENTROPIES:
        loss = 0.0
    enormous = loss > _ENORMOUS * even
    if not found:
        return f"The loss is {_apart(loss, even)}." if enormous else None
    accuracy = found[0]
    # Rescaled so that guessing has 0 and a perfect classifier 1.
    skill = (accuracy * classes - 1) / (classes - 1)
    if skill >= _SKILLED:
        return None
    # A model with an output per pixel or position classifies each of them.
    decisions = examples * math.prod(size or 1 for size in shape[1:-1])
    p = _chance(accuracy, decisions, classes)
    # A model that always answers the same class is correct more often than 1 in
    # `classes` if that class is more frequent than others.
    guesses = p > _SIGNIFICANT or accuracy * classes <= _FREQUENT
    if not guesses and not enormous:
        return None
    text = f"The accuracy is {accuracy:.2%}, and guessing gives 1 in {classes}"
    if p > _SIGNIFICANT:
        text += f" ({format_p(p)} on {counted(examples, 'example')})"
    # A slightly higher loss says nothing about a model that is correct often enough.
    if enormous or (guesses and loss > even):
        joint = "; but" if not guesses else ";"
        text += f"{joint} the loss is {_apart(loss, even)}"
    return f"{text}."


_SIGNIFICANT = 0.05  # largest p-value of an accuracy that is better than guessing
_FREQUENT = 1.3  # share of the most frequent class, as a multiple of an equal share
_SKILLED = 0.6  # share of the way from guessing to perfect: no chance, if few examples
_ENORMOUS = 40  # multiple of the loss of equal probabilities


def _chance(accuracy, examples, classes):
    """Probability that guessing gives at least this accuracy: the binomial tail."""
    correct = round(accuracy * examples)
    if correct < 1:
        return 1.0
    return float(special.bdtrc(correct - 1, examples, 1 / classes))


def _apart(loss, even):
    """A loss and that of equal probabilities, with digits that show the difference."""
    for digits in range(3, 9):
        one, other = f"{loss:.{digits}g}", f"{even:.{digits}g}"
        if one != other:
            break
    return f"{one}, and guessing gives {other}"


def guessing_warning(model, measured, examples):
    """Sentence and advice on a classifier that is no better than guessing, or None."""
    if (text := guessing(model, measured, examples)) is None:
        return None
    return (
        f"{text} Check the input scaling (--pixels) and the order of the class labels."
    )


def check_classifier(model, x, labels, args):
    """Prints a warning if a classifier is no better than guessing.

    Unlike `check_guessing` it needs no loss, and it never refuses the model.

    Args:
        model: a functional `keras.Model`.
        x: array `(examples, ...)` of inputs.
        labels: array of labels, one per example, or None.
        args: parsed arguments.
    """
    classes = None if labels is None else data_source.classes_of(labels)
    shape = model.outputs[0].shape
    if classes is None or len(model.outputs) != 1 or len(shape) != 2 or shape[1] == 1:
        return
    say(f"Measuring the accuracy on {counted(len(x), 'example')} ...")
    outputs = model.predict(x, batch_size=min(128, len(x)), verbose=0)
    (outputs,) = keras.tree.flatten(outputs)  # a model may return a dict or a list
    found = outputs.argmax(axis=1)
    measured = {"accuracy": float(np.mean(found == classes))}
    if text := guessing_warning(model, measured, len(x)):
        warn(text, args)


def check_guessing(model, measured, examples, args):
    """Prints a warning if a model is no better than guessing; returns whether it is so.

    Raises:
        WrongUse: if it is no better than guessing, without `allow_guessing`.
    """
    warning = guessing_warning(model, measured, examples)
    if warning and not args.allow_guessing:
        raise WrongUse(
            f"{warning} If the model is correct as it is, such as an untrained model, "
            "add --allow-guessing."
        )
    if warning:
        warn(warning, args)
    return warning is not None


def _suitable_loss(labels, outputs):
    """Name of the loss that suits labels and outputs."""
    whole = labels.dtype.kind in "iub"
    if len(outputs) == 2 and outputs[1] is not None and outputs[1] > 1:
        if labels.ndim == 1 and whole:
            return "sparse_categorical_crossentropy"
        if labels.shape[1:] == tuple(outputs[1:]) and set(np.unique(labels)) <= {0, 1}:
            return "categorical_crossentropy"
    if len(outputs) == 2 and outputs[1] == 1 and whole and labels.max() <= 1:
        return "binary_crossentropy"
    raise WrongUse(
        "The loss is unknown: the model was saved without one, its output has the "
        f"shape {tuple(outputs)}, and the labels are {labels.dtype.name} "
        f"{list(labels.shape)}. Give --loss, such as mean_squared_error."
    )


def _loss(name, logits):
    if name in _CROSS_ENTROPIES:
        return _CROSS_ENTROPIES[name](from_logits=logits)
    try:
        return keras.losses.get(name)
    except ValueError as error:
        raise WrongUse(f"Keras has no loss '{name}'.") from error


def _labels(y, kind, outputs):
    """Converts labels to the form of a loss: class numbers or one-hot rows."""
    if y.dtype.kind not in "iubf":
        raise WrongUse(
            f"Labels must be numbers. Received: {y.dtype.name} values, such as "
            f"{y.flat[0]!r}.{NUMBER_CLASSES}"
        )
    classes = outputs[-1]
    rows = y.ndim == len(outputs) and y.shape[-1] == classes and y.ndim > 1
    if kind == "sparse_categorical_crossentropy":
        return _classes(_numbered(y) if rows and classes > 1 else y, classes)
    if kind == "categorical_crossentropy" and not rows:
        return np.eye(classes, dtype="float32")[_classes(y, classes)]
    return y.astype("float32")


def _numbered(rows):
    """The class numbers of one-hot rows."""
    if not np.all((rows == 0) | (rows == 1)) or not np.all(rows.sum(-1) == 1):
        raise WrongUse(
            "For sparse_categorical_crossentropy, labels must be class numbers or "
            f"one-hot rows. Received: rows such as {rows[0].tolist()}. For class "
            "probabilities give --loss categorical_crossentropy, and for several "
            "labels per example --loss binary_crossentropy."
        )
    return rows.argmax(-1)


def _classes(y, classes):
    """Labels as class numbers in int32."""
    if y.dtype.kind not in "iub" and not np.array_equal(y, np.rint(y)):
        raise WrongUse(
            "Labels must be class numbers, which are integers. Received: "
            f"{y.dtype.name} values, such as {y[y != np.rint(y)][0]:g}. For a "
            "regression give --loss, such as mean_squared_error."
        )
    if y.min() < 0 or y.max() >= classes:
        raise WrongUse(
            f"The model distinguishes {classes} classes, 0 to {classes - 1}, but the "
            f"labels range from {y.min():g} to {y.max():g}. Number the classes from 0, "
            "as in the training of the model."
        )
    return y.astype("int32")


def evaluate(model, x, y, batch_size):
    """Evaluates a compiled model: dict from name to float, with the loss first."""
    found = model.evaluate(
        x,
        y,
        batch_size=batch_size,
        callbacks=[EvaluationProgress("Measuring, batch")],
        verbose=0,
        return_dict=True,
    )
    return {name: float(value) for name, value in found.items()}


def correct(model, x, y, batch_size, measured, like=None):
    """Finds which examples a compiled model classifies correctly.

    Args:
        measured: the result of `evaluate`.
        like: the model that determines whether outputs are classes; defaults to
            `model`.

    Returns:
        str as in `Round.correct`, or None if the model is not a classifier or its
        accuracy was not measured.
    """
    if "accuracy" not in measured or not decides(like or model):
        return None
    return classified(model, x, y, measured["accuracy"], batch_size)


def held_out(record):
    """The validation and test measures of a `Round`, by the name of the split."""
    splits = {"validation": record.validation, "test": record.test}
    return {name: measures for name, measures in splits.items() if measures}


def cell(name, value):
    """A measure as text in a table; a dash if it is None."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if name == "latency_ms" else format_value(name, value)
