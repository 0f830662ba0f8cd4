"""A second instance of a layer or operation, and its state."""

import keras
import numpy as np


class CloneError(ValueError):
    """A layer cannot be made anew from what it tells about itself."""


def clone_operation(operation):
    """A new operation of the same configuration, without its variables' values.

    Where a layer's `get_config` does not fit its own constructor, the arguments that
    Keras noted when the layer was made are used instead. The name stays even where
    neither tells it.

    Raises:
        CloneError: if it cannot be made; the message names it.
    """
    if type(operation) is keras.layers.Lambda:
        return _clone_lambda(operation)
    try:
        made = type(operation).from_config(operation.get_config())
    except Exception as error:
        try:
            made = _from_noted_arguments(operation)
        except Exception:
            reason = " ".join(str(error).partition("\n\n")[0].split())
            raise CloneError(
                f"The layer '{operation.name}' of type {type(operation).__name__} "
                f"cannot be cloned: {type(error).__name__}: {reason} Give it a "
                "`get_config` that fits its constructor, or pass "
                "`clone=function`, which is given a layer and returns a new one of "
                "the same kind and name, or None for layers it does not know."
            ) from error
    if made.name != operation.name:
        # Keras leaves the name out of the configuration that it makes up itself, unless
        # the constructor takes `name` or `**kwargs` of just this spelling.
        rename(made, operation.name)
    return made


def cloning(clone):
    """A function that clones operations: a user's where it answers, else ours.

    Args:
        clone: function from an operation to a new one or None; or None.

    Raises (when called):
        CloneError: if the user's function returns the very same operation, or one of
            another name.
    """
    if clone is None:
        return clone_operation

    def clone_by_user(operation):
        made = clone(operation)
        if made is None:
            return clone_operation(operation)
        if made is operation or made.name != operation.name:
            raise CloneError(
                f"`clone` must return a new layer named '{operation.name}', or None. "
                f"Received: '{made.name}'"
                f"{', the same instance' if made is operation else ''}."
            )
        return made

    return clone_by_user


def _clone_lambda(layer):
    # Its configuration holds bytecode, which would lose what a closure refers to; the
    # function itself is at hand.
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=dict(layer.arguments),
        name=layer.name,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
    )


def _from_noted_arguments(operation):
    config = dict(operation._auto_config.config)
    config["name"] = operation.name
    if isinstance(operation, keras.layers.Layer):
        config["trainable"] = operation.trainable
        config["dtype"] = keras.dtype_policies.serialize(operation.dtype_policy)
    return type(operation).from_config(config)


def rename(operation, name):
    """Gives an operation that has not been called yet another name."""
    operation.name = name
    noted = getattr(operation, "_auto_config", None)
    if noted is not None and "name" in noted.config:
        noted.config["name"] = name  # its `get_config` may be made from this


def copy_state(source, target):
    """Copies all variables, seed generators' included, from operation to operation.

    What is frozen stays so, also within a layer, of which no configuration tells.

    Args:
        source, target: layers, or operations without variables.

    Raises:
        CloneError: if their variables differ in shape.
    """
    if not isinstance(source, keras.layers.Layer):
        return
    sources, targets = source.variables, target.variables
    if [v.shape for v in sources] != [v.shape for v in targets]:
        raise CloneError(
            f"'{source.name}' does not rebuild from its configuration: its variables "
            f"have shapes {[v.shape for v in sources]}, its clone's "
            f"{[v.shape for v in targets]}."
        )
    for old, new in zip(
        source._flatten_layers(), target._flatten_layers(), strict=False
    ):
        if new.trainable != old.trainable:
            new._trainable = old.trainable  # the setter would reach into all within
    for old, new in zip(sources, targets, strict=True):
        # A copy: on JAX two variables must not share one buffer, which the next
        # training step gives away.
        new.assign(np.array(keras.ops.convert_to_numpy(old)))
        if new.trainable != old.trainable:
            new.trainable = old.trainable
    for layer in target._flatten_layers():
        # Normalization caches its mean and variance outside its variables.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
