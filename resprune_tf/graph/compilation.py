"""Compiles a rebuilt model like its source, and creates or copies its state."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from resprune_tf.graph.cloning import paired_variables
from resprune_tf.graph.running import as_tensors
from resprune_tf.graph.transfer import pairs
from resprune_tf.system.advice import advice

# By overriding these, a subclass changes how a model is trained and evaluated.
_STEPS = (
    "train_step",
    "test_step",
    "compute_loss",
    "compute_loss_and_updates",
    "stateless_compute_loss",
    "compute_metrics",
    "get_metrics_result",
    "metrics",
)


# Advice of the command line: the options that compile a model.
COMPILED = "Give --optimizer and --loss."


class SettingsLost(ValueError):
    """Compile settings that Keras cannot apply to another model.

    Attributes:
        lost: str, what would be lost.
    """

    def __init__(self, message, lost):
        super().__init__(message)
        self.lost = lost


def check_steps(source, model=keras.Model):
    """Checks that a rebuilt model is trained and evaluated like its source.

    Args:
        source: a `keras.Model`.
        model: the rebuilt model, or the class that it will have.

    Raises:
        ValueError: if `source` overrides, say, `train_step` and `model` does not, or
            if one of them has a KerasHub preprocessor.
    """
    for name in _STEPS:
        known = _method(model, name), _method(keras.Model, name)
        if _method(source, name) not in known:
            raise ValueError(
                f"'{source.name}' has its own `{name}`, which the pruned model would "
                "not have. Express it by layers, losses and metrics instead."
            )
    for each in (source, model):
        if getattr(each, "preprocessor", None) is not None:
            raise ValueError(
                f"'{source.name}' transforms its inputs by its `preprocessor`, which "
                "the pruned model would not have. Set `preprocessor` to None and "
                "preprocess the data beforehand."
            )


def _method(owner, name):
    """The function that a model, or a class, has under a name; None without one."""
    if not isinstance(owner, type):
        if name in vars(owner):
            own = vars(owner)[name]
            return getattr(own, "__func__", own)
        owner = type(owner)
    return getattr(owner, name, None)


def compile_like(
    model: keras.Model,
    source: keras.Model,
    compile_fn: Callable | None = None,
    optimizer_state: bool = False,
) -> None:
    """Compiles a model with the settings of another one.

    Args:
        model: the `keras.Model` to compile, made from `source` by `remove_units` or
            `add_importance`.
        source: a compiled `keras.Model`.
        compile_fn: function that compiles the model that it receives. Needed for
            settings that Keras cannot repeat, such as a lambda as loss.
        optimizer_state: if True, the optimizer continues from the state of the
            optimizer of `source`: momenta, moving averages, iterations, learning rate
            and exclusions from weight decay. New weights start with the initial state.

    Raises:
        ValueError: if `source` is not compiled, if it overrides `train_step` or a
            similar method and `model` does not, or if Keras cannot repeat its settings.

    >>> smaller = remove_units(model, "stage1_unit3")
    >>> compile_like(smaller, model)
    """
    if not source.compiled:
        raise ValueError(
            f"'{source.name}' is not compiled. Call its `compile()` first."
        )
    check_steps(source, model)
    if compile_fn is not None:
        compile_fn(model)
    else:
        _repeat_settings(model, source, optimizer_state)
    if optimizer_state:
        _copy_optimizer(source, model)


def _repeat_settings(model, source, optimizer_state):
    lost = cause = None
    try:
        # Not `compile_from_config`, which ignores the settings if the class of the
        # model has a `compile` of its own.
        settings = keras.saving.deserialize_keras_object(source.get_compile_config())
        keras.Model.compile(model, **settings)
        model.optimizer.build(model.trainable_variables)
    except Exception as error:
        lost, cause = f"{type(error).__name__}: {error}", error
    else:
        if type(model.optimizer) is not type(source.optimizer):
            lost = f"the {type(source.optimizer).__name__}"
        # Copying the optimizer's state copies the exclusions too.
        elif not optimizer_state and _excludes(source.optimizer):
            lost = "the arguments of `exclude_from_weight_decay`"
    if lost:
        raise SettingsLost(
            f"The settings that '{source.name}' was compiled with cannot be repeated. "
            + advice(
                "Pass `compile_fn`, a function that compiles the model it receives.",
                COMPILED,
            )
            + f" Lost: {lost}",
            lost,
        ) from cause


def _excludes(optimizer):
    """Whether weights are excluded from weight decay; no configuration states this."""
    optimizer = inner_optimizer(optimizer)
    return bool(
        getattr(optimizer, "_exclude_from_weight_decay", None)
        or getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    )


def _copy_optimizer(source, model):
    if type(source.optimizer) is not type(model.optimizer):
        raise ValueError(
            "The state of an optimizer can only be copied to an optimizer of the same "
            f"class. Received: {type(source.optimizer).__name__} in '{source.name}', "
            f"{type(model.optimizer).__name__} in '{model.name}'. Compile both models "
            "with the same class."
        )
    if _holds_several(source.optimizer):
        raise ValueError(
            "The state of an optimizer that holds several optimizers cannot be copied. "
            f"Received: {type(source.optimizer).__name__} in '{source.name}'. Pass "
            "`optimizer_state=False`, or compile with one optimizer."
        )
    # A second `build` of LossScaleOptimizer would create its counters again.
    for each in (source, model):
        if not each.optimizer.built:
            each.optimizer.build(each.trainable_variables)
    old = {id(v): place for place, v in enumerate(source.trainable_variables)}
    origins = {}
    for layer, new_layer in pairs(source, model):
        for variable, new in paired_variables(layer, new_layer):
            origins[id(new)] = variable
    places = [
        (place, old[id(origins[id(new)])], new, origins[id(new)])
        for place, new in enumerate(model.trainable_variables)
        if id(origins.get(id(new))) in old
    ]
    _copy_slots(source.optimizer, model.optimizer, places, len(old))


def _holds_several(optimizer):
    """Whether an optimizer assigns the weights to several other optimizers."""
    return any(
        isinstance(each, keras.optimizers.Optimizer)
        for value in vars(inner_optimizer(optimizer)).values()
        if isinstance(value, (dict, list, tuple))
        for each in keras.tree.flatten(value)
    )


# Lists of an optimizer with one entry per weight that are not its slot variables.
_NO_SLOTS = ("_variables", "_trainable_variables")


def _copy_slots(optimizer, new_optimizer, places, count):
    """Copies single variables, and lists of one variable per weight."""
    for name, value in vars(optimizer).items():
        new = getattr(new_optimizer, name, None)
        if isinstance(value, keras.optimizers.Optimizer):
            _copy_slots(value, new, places, count)
        elif isinstance(value, keras.Variable):
            if isinstance(new, keras.Variable) and new.shape == value.shape:
                new.assign(_copied(value))
        elif isinstance(value, list) and len(value) == count and name not in _NO_SLOTS:
            for place, old_place, *_ in places:
                if isinstance(value[old_place], keras.Variable):
                    new[place].assign(_copied(value[old_place]))
    # No configuration contains `exclude_from_weight_decay`.
    new_optimizer._exclude_from_weight_decay_pattern = getattr(
        optimizer, "_exclude_from_weight_decay_pattern", None
    )
    excluded = getattr(optimizer, "_exclude_from_weight_decay", ())
    new_optimizer._exclude_from_weight_decay = {
        new_optimizer._var_key(new)
        for _, _, new, origin in places
        if optimizer._var_key(origin) in excluded
    }
    new_optimizer._exclude_from_weight_decay_cache = {}


def _copied(variable):
    # On JAX a training step donates its buffers, so variables must not share one.
    return np.array(keras.ops.convert_to_numpy(variable))


def inner_optimizer(optimizer):
    """The optimizer inside one that scales the loss; any other optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def create_state(model, batch):
    """Creates the variables of a compiled model's metrics and optimizer.

    On TensorFlow, `fit` creates them while it traces the training step, and then traces
    the step again, which takes half of the time before the first step of a small model.
    On other backends, Keras itself creates them before the first step.

    Args:
        model: a compiled `keras.Model`. If it belongs to a distribution strategy,
            nothing is done, because Keras creates its variables before the first step.
        batch: arrays `(images, ...)` of inputs, targets and, if there are any, sample
            weights. Only the first two examples are used; metrics are reset
            afterwards.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    usual = tf.distribute.get_strategy()
    if tf.distribute.has_strategy() or model.distribute_strategy is not usual:
        return
    if not all(hasattr(values, "__array__") for values in keras.tree.flatten(batch)):
        return  # lists and sparse arrays, which `fit` converts
    if any(tensor.shape[0] is not None for tensor in model.inputs):
        return  # a part of the batch does not fit
    if any(getattr(layer, "stateful", False) for layer in model._flatten_layers()):
        return  # the call would change its state
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    # Two examples, because a batch of one may be squeezed.
    batch = keras.tree.map_structure(lambda values: values[:2], batch)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    outputs = model(as_tensors(x), training=False)
    model.compute_metrics(x, y, outputs, sample_weight)
    model.reset_metrics()
