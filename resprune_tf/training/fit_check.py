"""Checks of a run with the user's own data and compile settings before it starts."""

import dataclasses
import warnings

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.data.fit_data import Pipeline
from resprune_tf.graph.compilation import COMPILED, SettingsLost, check_steps
from resprune_tf.runs.callbacks import scalars
from resprune_tf.runs.judging import check_mode, direction
from resprune_tf.system.advice import advice
from resprune_tf.training.data_check import by_input, check_class_weight, check_splits
from resprune_tf.training.fit_training import compiled_copy


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """What `check_fit` found out about a model.

    Attributes:
        mode: `"min"` or `"max"`, the better direction of the monitored value.
        compiled: optimizer, loss and names of the measures, as JSON values.
    """

    mode: str
    compiled: dict


def check_compiled(model):
    """Raises a ValueError unless a model is compiled."""
    if not model.compiled:
        raise ValueError(
            f"'{model.name}' is not compiled. Call its `compile()` first, or pass "
            "`FitRecipe(compile_fn=...)`."
        )


def check_fit(model, data, recipe, monitor, mode, select_on):
    """Tries a model's compile settings and data on one batch, before any work.

    Args:
        model: the user's `keras.Model`; it is not changed.
        data: a `FitData`.
        recipe: a `FitRecipe`.
        monitor: name of the monitored measure.
        mode: its better direction, or None to derive it from the metric.
        select_on: name of the split on which it is monitored.

    Returns:
        `FitSettings`.

    Raises:
        ValueError: if Keras cannot repeat the compile settings, if `monitor` is not
            measured or its direction is unknown, if the recipe does not fit the data,
            or if `check_splits` finds an error in the data.
    """
    check_mode(mode)
    _check_data(data, recipe, select_on)
    for name, split in data.splits.items():
        if type(split) is Pipeline:
            _check_batched(model, split.dataset.element_spec, name)
    recipe.check_callbacks()
    check_steps(model)
    batch = data.splits[select_on].first_batch()
    if recipe.compile_fn is None:
        trial = _repeated(model)
    else:
        trial = _compiled(model, recipe.compile_fn)
    check_splits(trial, data.splits)
    check_class_weight(trial, recipe.fit_options.get("class_weight"), data.splits)
    try:
        measured = _measure(trial, batch)
    except Exception as error:
        raise ValueError(
            f"'{model.name}' cannot be evaluated on the first batch of `{select_on}`. "
            f"Check its loss, and the shapes of inputs and labels: {error}"
        ) from error
    if recipe.compile_fn is None:
        expected = _measure(model, batch)
        if not _agree(measured, expected):
            raise ValueError(
                f"Compiled again from its settings, '{model.name}' measures {measured} "
                f"on a batch instead of {expected}. {_compile_advice()}"
            )
    if monitor not in measured:
        raise ValueError(
            f"`monitor={monitor!r}` is not measured. '{model.name}' measures: "
            f"{', '.join(measured)}."
        )
    compiled = {
        "optimizer": graph.without_names(
            _plain(keras.optimizers.serialize(trial.optimizer))
        ),
        "loss": _plain(trial.loss),
        "measures": list(measured),
    }
    return FitSettings(direction(trial, monitor, mode), compiled)


def _check_data(data, recipe, select_on):
    if select_on not in data.splits:
        raise ValueError(
            f"`select_on={select_on!r}`, but FitData has no such split. Its splits: "
            f"{', '.join(data.splits)}."
        )
    train, steps = data.splits["train"], recipe.fit_options.get("steps_per_epoch")
    if train.repeats and steps is None:
        raise ValueError(
            "`train` repeats endlessly. Pass "
            '`FitRecipe(fit_options={"steps_per_epoch": ...})`.'
        )
    if data.splits["validation"].repeats and recipe.validation_steps is None:
        raise ValueError(
            "`validation` repeats endlessly. Pass "
            '`FitRecipe(fit_options={"validation_steps": ...})`, or limit it by '
            "`.take(batches)` of a tf.data.Dataset or `num_batches` of a PyDataset."
        )
    if steps is not None and data.sizes["train"] is not None:
        raise ValueError(
            "An epoch of arrays always contains all examples. Leave out "
            "`steps_per_epoch`, or make a tf.data.Dataset of the arrays. "
            f"Received: steps_per_epoch={steps}."
        )


def _check_batched(model, spec, name):
    """Raises a ValueError for a pipeline of single examples."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(spec)
    shapes = [
        (tuple(value.shape), tuple(tensor.shape))
        for value, tensor in by_input(x, model)
        # Keras adds a missing last axis of 1, so this is no sign of a missing batch.
        if value.shape.rank is not None and tuple(tensor.shape[1:]) != (1,)
    ]
    # All inputs must look like single examples, because a batch of sequences of open
    # length may look like one example.
    if shapes and all(_is_single(*pair) for pair in shapes):
        raise ValueError(
            f"`{name}` must come in batches: `dataset.batch(32)`. Received: "
            f"elements of shape {shapes[0][0]} for an input of shape {shapes[0][1]}."
        )


def _is_single(shape, input_shape):
    """Whether a shape is that of one example of an input."""
    return len(input_shape) > 0 and graph.fits(shape, input_shape[1:])


def _repeated(model):
    """A copy of a compiled model, compiled from the settings that Keras stores.

    Raises:
        ValueError: if the settings cannot be repeated.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about lambdas, which are rejected below
            return compiled_copy(model, model)
    except SettingsLost as error:
        raise ValueError(
            f"Keras cannot repeat the compile settings of '{model.name}' on a pruned "
            f"model. {_compile_advice()} Lost: {error.lost}"
        ) from error


def _compile_advice():
    return advice("Pass `FitRecipe(compile_fn=...)`.", COMPILED)


def _compiled(model, compile_fn):
    """A copy that `compile_fn` compiled."""
    trial = compiled_copy(model, model, compile_fn)
    first = trial.optimizer if trial.compiled else None
    if first is None:
        raise ValueError(
            "`compile_fn` must compile the model that it receives, with an optimizer. "
            "The model was not compiled after the call."
        )
    compile_fn(trial)
    if trial.optimizer is first:
        raise ValueError(
            "`compile_fn` must create a new optimizer each time, because an optimizer "
            "belongs to the variables of one model. It returned the same one twice."
        )
    return trial


def _measure(model, batch):
    """The measures of a compiled model on one batch.

    They are computed eagerly, because tracing and compiling take far longer than one
    batch. The function that Keras has traced for the model is kept.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    kept = model.run_eagerly, model.test_function
    model.run_eagerly, model.test_function = True, None
    model.reset_metrics()
    try:
        logs = model.test_on_batch(x, y, sample_weight, return_dict=True)
    finally:
        model.run_eagerly, model.test_function = kept
    model.reset_metrics()
    return scalars(logs)


def _agree(measured, expected):
    return measured.keys() == expected.keys() and all(
        np.isclose(measured[name], expected[name], rtol=1e-3, equal_nan=True)
        for name in expected
    )


def _plain(value):
    """An argument of `compile` as JSON values; functions as their names."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, keras.losses.Loss):
        return {"class_name": type(value).__name__, "config": _plain(_config(value))}
    return getattr(value, "__name__", type(value).__name__)


def _config(loss):
    """The configuration of a loss; {} if it has none."""
    try:
        return loss.get_config()
    except NotImplementedError:
        return {}
