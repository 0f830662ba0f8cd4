"""Compiling a rebuilt model as the one it comes from, and its optimizer's state."""

import keras

from resprune_tf.cloning import paired_variables
from resprune_tf.transfer import pairs


def compile_like(model, source, compile_fn=None, optimizer_state=False):
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
        ValueError: if `source` is not compiled, or Keras cannot repeat its settings.
    """
    if not source.compiled:
        raise ValueError(
            f"'{source.name}' is not compiled. Call its `compile()` first."
        )
    if compile_fn is not None:
        compile_fn(model)
    else:
        try:
            model.compile_from_config(source.get_compile_config())
        except Exception as error:
            raise ValueError(
                f"The settings that '{source.name}' was compiled with cannot be "
                f"repeated: {error} Pass `compile_fn`, a function that compiles the "
                "model it is given."
            ) from error
    if optimizer_state:
        _copy_optimizer(source, model)


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
