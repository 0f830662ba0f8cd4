"""Compiling a rebuilt model as the one it comes from, and its optimizer's state."""

from __future__ import annotations

from collections.abc import Callable

import keras

from resprune_tf.graph.cloning import paired_variables
from resprune_tf.graph.transfer import pairs
from resprune_tf.system.advice import advice

# By these a subclass changes how a model is trained and measured.
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


# Options that compile a model on the command line.
COMPILED = "Give --optimizer and --loss."


class SettingsLost(ValueError):
    """Compile settings that Keras cannot repeat on another model.

    Attributes:
        lost: what would be lost, in words.
    """

    def __init__(self, message, lost):
        super().__init__(message)
        self.lost = lost


def check_steps(source, model=keras.Model):
    """Checks that a rebuilt model is trained and measured as its source is.

    Args:
        source: a `keras.Model`.
        model: what was made from it, or the class that it will have.

    Raises:
        ValueError: if the source has, say, a `train_step` of its own, or a KerasHub
            preprocessor, and `model` has not.
    """
    for name in _STEPS:
        known = _method(model, name), _method(keras.Model, name)
        if _method(source, name) not in known:
            raise ValueError(
                f"'{source.name}' has a `{name}` of its own, which a shorter model "
                "would not have. Put what it does into layers, losses and metrics."
            )
    for each in (source, model):
        if getattr(each, "preprocessor", None) is not None:
            raise ValueError(
                f"'{source.name}' prepares what it is given by its `preprocessor`, "
                "which a shorter model would not have. Set `preprocessor` to None and "
                "prepare the data before."
            )


def _method(owner, name):
    """What a model, or a class, does under a name; None where Keras has no such."""
    if not isinstance(owner, type):
        if name in vars(owner):
            own = vars(owner)[name]
            return getattr(own, "__func__", own)
        owner = type(owner)
    return getattr(owner, name, None)


def compile_like(
    model: keras.Model,
    source: str,
    compile_fn: Callable | None = None,
    optimizer_state: bool = False,
) -> None:
    """Compiles a model with the settings of another one.

    Args:
        model: what `remove_units` or `add_importance` made from `source`.
        source: a compiled model.
        compile_fn: function that compiles the model it is given, for settings that
            Keras cannot repeat, such as a lambda as loss.
        optimizer_state: whether the optimizer goes on where that of `source` is:
            momenta, moving averages, iterations, learning rate and what is excluded
            from weight decay. New weights begin afresh.

    Raises:
        ValueError: if `source` is not compiled, or has a `train_step` or the like of
            its own, which `model` has not; or if Keras cannot repeat its settings.
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
        model.compile_from_config(source.get_compile_config())
    except Exception as error:
        lost, cause = f"{type(error).__name__}: {error}", error
    else:
        if type(model.optimizer) is not type(source.optimizer):
            lost = f"the {type(source.optimizer).__name__}"
        # The state of an optimizer brings them along.
        elif not optimizer_state and _excludes(source.optimizer):
            lost = "what `exclude_from_weight_decay` was told"
    if lost:
        raise SettingsLost(
            f"The settings that '{source.name}' was compiled with cannot be repeated. "
            + advice(
                "Pass `compile_fn`, a function that compiles the model it is given.",
                COMPILED,
            )
            + f" Lost: {lost}",
            lost,
        ) from cause


def _excludes(optimizer):
    """Whether an optimizer decays all weights but some, which no configuration says."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return bool(
        getattr(optimizer, "_exclude_from_weight_decay", None)
        or getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    )


def _copy_optimizer(source, model):
    if type(source.optimizer) is not type(model.optimizer):
        raise ValueError(
            "The state of an optimizer can only go to one of its kind. Received: "
            f"{type(source.optimizer).__name__} in '{source.name}', "
            f"{type(model.optimizer).__name__} in '{model.name}'."
        )
    # Built once: a second `build` of LossScaleOptimizer would make its counters anew.
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


# Lists of an optimizer that hold other variables than its own, one for each weight.
_NO_SLOTS = ("_variables", "_trainable_variables")


def _copy_slots(optimizer, new_optimizer, places, count):
    """Copies single variables, and lists of one variable for each weight."""
    for name, value in vars(optimizer).items():
        new = getattr(new_optimizer, name, None)
        if isinstance(value, keras.optimizers.Optimizer):
            _copy_slots(value, new, places, count)
        elif isinstance(value, keras.Variable):
            if isinstance(new, keras.Variable) and new.shape == value.shape:
                new.assign(value)
        elif isinstance(value, list) and len(value) == count and name not in _NO_SLOTS:
            for place, old_place, *_ in places:
                if isinstance(value[old_place], keras.Variable):
                    new[place].assign(value[old_place])
    # `exclude_from_weight_decay` is in no configuration.
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
