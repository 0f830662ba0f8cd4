"""A second instance of a layer or operation, and its state."""

import pathlib
import tempfile

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
    """Copies all state from operation to operation.

    That is all variables, seed generators' included, and what a layer saves by methods
    of its own (`save_own_variables`, `save_assets`), such as an adapted vocabulary.
    What is frozen stays so, also within a layer, of which no configuration tells; so
    does what `quantize` made of the layers inside.

    Args:
        source, target: layers, or operations without state.

    Raises:
        CloneError: if their variables differ in shape, or methods of a layer fail.
    """
    if not isinstance(source, keras.layers.Layer):
        return
    olds, news = list(source._flatten_layers()), list(target._flatten_layers())
    if len(olds) != len(news) and any(map(keeps_own_state, olds)):
        raise CloneError(
            f"'{source.name}' does not rebuild from its configuration: it holds "
            f"{len(olds) - 1} layers, its clone {len(news) - 1}. So the state that is "
            "no variable cannot be copied."
        )
    for old, new in zip(olds, news, strict=False):
        _quantize_like(old, new)
        if keeps_own_state(old):
            _copy_own_state(old, new)
        if new.trainable != old.trainable:
            new._trainable = old.trainable  # the setter would reach into all within
    for old, new in paired_variables(source, target):
        # A copy: on JAX two variables must not share one buffer, which the next
        # training step gives away.
        new.assign(np.array(keras.ops.convert_to_numpy(old)))
        if new.trainable != old.trainable:
            new.trainable = old.trainable
    for layer in target._flatten_layers():
        # Normalization caches its mean and variance outside its variables. A lookup's
        # `finalize_state` would end an `adapt`, which is none of a copy's.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def paired_variables(source, target):
    """The variables of an operation, each with that of its clone.

    In order; or by layer and name, where that differs: `quantize("float8")` adds
    variables behind the kernel, and a layer made for float8 adds them before it.

    Args:
        source, target: layers, or operations without variables.

    Returns:
        List of `(variable of source, variable of target)`.

    Raises:
        CloneError: if they differ in shape.
    """
    sources, targets = (list(getattr(o, "variables", ())) for o in (source, target))
    if _shapes(sources) != _shapes(targets):
        named, wanted = _named_variables(target), _named_variables(source)
        if named.keys() == wanted.keys() and len(named) == len(sources):
            sources = list(wanted.values())
            targets = [named[key] for key in wanted]
    if _shapes(sources) != _shapes(targets):
        raise CloneError(
            f"'{source.name}' does not rebuild from its configuration: its variables "
            f"have shapes {_shapes(sources)}, its clone's {_shapes(targets)}."
        )
    return list(zip(sources, targets, strict=True))


def _shapes(variables):
    return [tuple(variable.shape) for variable in variables]


def _named_variables(operation):
    return {
        (place, variable.name): variable
        for place, layer in enumerate(operation._flatten_layers())
        for variable in (
            *layer._trainable_variables,
            *layer._non_trainable_variables,
            *(generator.state for generator in layer._seed_generators),
        )
    }


_PROTOCOL = ("save_own_variables", "load_own_variables", "save_assets", "load_assets")
# Theirs write variables and nothing else.
_OF_VARIABLES = ("layer", "core.", "convolutional.")


def keeps_own_state(layer):
    """Whether a layer saves its state by methods of its own, not just its variables."""
    plain = tuple(f"keras.src.layers.{module}" for module in _OF_VARIABLES)
    methods = [getattr(type(layer), name, None) for name in _PROTOCOL]
    return any(m and not m.__module__.startswith(plain) for m in methods)


def _copy_own_state(old, new):
    """Copies what a layer saves by its own methods, as Keras's files do."""
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        saved, loaded = (pathlib.Path(folder, name) for name in ("saved", "loaded"))
        try:
            store = _save(old, saved)
            if _holds(new, loaded, store, saved):
                return  # loading a vocabulary again would break compiled functions
            new.load_own_variables(store)
            if hasattr(old, "save_assets"):
                new.load_assets(str(saved))
        except Exception as error:
            reason = " ".join(str(error).partition("\n\n")[0].split())
            raise CloneError(
                f"The state of '{old.name}' of type {type(old).__name__} cannot be "
                f"copied by its methods {', '.join(_PROTOCOL)}: "
                f"{type(error).__name__}: {reason}"
            ) from error


def _save(layer, folder):
    folder.mkdir()
    store = {}
    layer.save_own_variables(store)
    if hasattr(layer, "save_assets"):
        layer.save_assets(str(folder))
    return {key: np.array(_array(value)) for key, value in store.items()}


def _array(value):
    if isinstance(value, keras.Variable) or keras.ops.is_tensor(value):
        return keras.ops.convert_to_numpy(value)
    return value


def _holds(layer, folder, store, saved):
    """Whether a layer saves just what is in a store and a folder."""
    try:
        own = _save(layer, folder)
    except Exception:
        return False  # nothing that could be saved yet
    return (
        own.keys() == store.keys()
        and all(np.array_equal(own[key], store[key]) for key in store)
        and _files(folder) == _files(saved)
    )


def _files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def _quantize_like(old, new):
    mode = old.quantization_mode
    if getattr(old, f"is_{mode}_calibrated", True) is False:
        raise CloneError(
            f"'{old.name}' is quantized by {mode} but not calibrated, so no "
            "configuration tells which of its two kernels it uses. Prune the model "
            f'before `quantize("{mode}")`, or calibrate it first.'
        )
    if mode is not None and new.quantization_mode is None and new.built:
        # Of a layer inside another one, whose configuration does not tell.
        config = getattr(old, "quantization_config", None)
        new.quantize(mode, **({} if config is None else {"config": config}))
    for name in ("is_gptq_calibrated", "is_awq_calibrated"):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))
