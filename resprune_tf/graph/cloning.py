"""Clones a layer or operation, and copies its state."""

import json
import pathlib
import tempfile

import keras
import numpy as np


class CloneError(ValueError):
    """A layer cannot be rebuilt from its configuration. It is a ValueError."""


def clone_operation(operation, policy=None):
    """Creates an operation with the same configuration, without values of variables.

    If a layer's `get_config` does not fit its constructor, the constructor arguments
    that Keras recorded are used instead. The name is preserved even if neither
    contains it.

    Args:
        operation: a layer or an operation.
        policy: name of another dtype policy for a layer; None to keep its own.

    Raises:
        CloneError: if the operation cannot be created; the message names it.
    """
    if type(operation) is keras.layers.Lambda:
        return _clone_lambda(operation, policy)
    changes = {} if policy is None else {"dtype": policy}
    try:
        made = type(operation).from_config({**operation.get_config(), **changes})
    except Exception as error:
        try:
            made = _from_recorded_arguments(operation, changes)
        except Exception:
            raise CloneError(
                f"The layer '{operation.name}' of type {type(operation).__name__} "
                f"cannot be cloned: {_reason(error)}. Define a `get_config` that fits "
                "its constructor, or pass `clone=function`: it receives a layer and "
                "returns a new layer of the same class and name, or None for layers "
                "that need no special treatment."
            ) from error
    if made.name != operation.name:
        # The default configuration of Keras contains the name only if the constructor
        # has an argument called `name` or `kwargs`.
        rename(made, operation.name)
    return made


def _reason(error):
    """Type and first paragraph of an error, on one line, without the full stop."""
    message = " ".join(str(error).partition("\n\n")[0].split())
    return f"{type(error).__name__}: {message}".rstrip(".: ")


def cloning(clone):
    """Returns a function that clones operations: by `clone`, else `clone_operation`.

    Args:
        clone: function of the user, from an operation to a new one or None; or None.

    The returned function raises a CloneError if `clone` returns the same instance, or
    an operation with another name.
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


def _clone_lambda(layer, policy):
    # The configuration contains bytecode, which loses the variables of a closure. So
    # the function itself is reused.
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=dict(layer.arguments),
        name=layer.name,
        dtype=policy or layer.dtype_policy,
        trainable=layer.trainable,
    )


def _from_recorded_arguments(operation, changes):
    config = dict(operation._auto_config.config)
    config["name"] = operation.name
    if isinstance(operation, keras.layers.Layer):
        config["trainable"] = operation.trainable
        config["dtype"] = keras.dtype_policies.serialize(operation.dtype_policy)
    return type(operation).from_config({**config, **changes})


def rename(operation, name):
    """Renames an operation that has not been called yet."""
    operation.name = name
    recorded = getattr(operation, "_auto_config", None)
    if recorded is not None and "name" in recorded.config:
        recorded.config["name"] = name  # the default `get_config` returns this


_PENALTIES = ("regularizer", "constraint")  # attributes of a variable


def without_names(config):
    """A configuration without the names in it, which Keras numbers.

    Args:
        config: dict of `get_config`, or a value in it.
    """
    if isinstance(config, dict):
        items = config.items()
        return {key: without_names(value) for key, value in items if key != "name"}
    if isinstance(config, (list, tuple)):
        return [without_names(value) for value in config]
    return config


def copy_state(source, target):
    """Copies all state from one operation to another.

    The state comprises all variables, including those of seed generators, and what a
    layer saves by its own methods (`save_own_variables`, `save_assets`), such as an
    adapted vocabulary. What no configuration records is taken over
    (`take_over_unsaved`), and quantized layers inside a layer are quantized again.

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
            f"'{source.name}' cannot be rebuilt from its configuration: it contains "
            f"{len(olds) - 1} layers, its clone {len(news) - 1}. So state outside "
            "variables, such as a vocabulary, cannot be copied. Create all layers in "
            "`__init__` or `build`, from what `get_config` returns."
        )
    for old, new in zip(olds, news, strict=False):
        _quantize_like(old, new)
        if keeps_own_state(old):
            _copy_own_state(old, new)
    for old, new in paired_variables(source, target):
        # A copy: on JAX a training step donates its buffers, so two variables must
        # not share one.
        new.assign(np.array(keras.ops.convert_to_numpy(old)))
    take_over_unsaved(source, target)
    for layer in target._flatten_layers():
        # Normalization caches its mean and variance outside its variables. Lookup
        # layers need no `finalize_state`: it would only end an `adapt`.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def take_over_unsaved(source, target):
    """Takes over what neither configurations nor files of models record.

    These are the `trainable` flags of layers inside a layer and of single variables,
    and regularizers and constraints that were set on a variable.

    Args:
        source, target: an operation and its clone.

    Returns:
        List of texts, one for each setting that the target had not.
    """
    changed = []
    if not isinstance(source, keras.layers.Layer):
        return changed
    layers = zip(source._flatten_layers(), target._flatten_layers(), strict=False)
    for place, (old, new) in enumerate(layers):
        if new.trainable != old.trainable:
            new._trainable = old.trainable  # the setter would change inner layers too
            changed.append(f"layer {place}: trainable {old.trainable}")
    for place, (old, new) in enumerate(paired_variables(source, target)):
        if new.trainable != old.trainable:
            new.trainable = old.trainable
            changed.append(f"variable {place}: trainable {old.trainable}")
        for kind in _PENALTIES:
            wanted = getattr(old, kind)
            if not _alike(wanted, getattr(new, kind)):
                setattr(new, kind, wanted)
                changed.append(f"variable {place}: {kind} {_described(wanted)}")
    return changed


def _alike(first, second):
    """Whether two regularizers or constraints are of one class and configuration."""
    if type(first) is not type(second):
        return False
    if first is None or first is second:
        return True
    texts = _configuration(first), _configuration(second)
    return texts[0] is not None and texts[0] == texts[1]


def _configuration(penalty):
    """The configuration as text; None of a class without one, or with its own code."""
    try:
        # As text, because a configuration may contain arrays.
        config = keras.saving.serialize_keras_object(penalty)
        return json.dumps(config, sort_keys=True)
    except Exception:
        return None


def _described(penalty):
    """A regularizer or constraint as text that other processes describe alike."""
    return _configuration(penalty) or type(penalty).__name__


def paired_variables(source, target):
    """Pairs the variables of an operation with those of its clone.

    They are paired by order, or, if the order differs, by layer and name:
    `quantize("float8")` adds variables after the kernel, but a layer that is created
    for float8 adds them before it.

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
            f"'{source.name}' cannot be rebuilt from its configuration: its variables "
            f"have shapes {_shapes(sources)}, those of its clone "
            f"{_shapes(targets)}. Let `get_config` return every argument that "
            "determines a shape."
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
# In these modules of Keras, the methods save variables only.
_VARIABLES_ONLY = ("layer", "core.", "convolutional.")


def keeps_own_state(layer):
    """Whether a layer saves more than its variables, by methods of its own."""
    plain = tuple(f"keras.src.layers.{module}" for module in _VARIABLES_ONLY)
    methods = [getattr(type(layer), name, None) for name in _PROTOCOL]
    return any(m and not m.__module__.startswith(plain) for m in methods)


def _copy_own_state(old, new):
    """Copies the state that a layer saves by its own methods, as Keras's files do."""
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        saved, loaded = (pathlib.Path(folder, name) for name in ("saved", "loaded"))
        try:
            store = _save(old, saved)
            if _has_state(new, loaded, store, saved):
                return  # loading a vocabulary twice would break compiled functions
            new.load_own_variables(store)
            if hasattr(old, "save_assets"):
                new.load_assets(str(saved))
        except Exception as error:
            raise CloneError(
                f"The state of '{old.name}' of type {type(old).__name__} cannot be "
                f"copied by its methods {', '.join(_PROTOCOL)}: {_reason(error)}."
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


def _has_state(layer, folder, store, saved):
    """Whether a layer, saved to `folder`, saves the content of `store` and `saved`."""
    try:
        own = _save(layer, folder)
    except Exception:
        return False  # the layer has no state to save yet
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
            f"'{old.name}' is quantized by {mode} but not calibrated, so its "
            "configuration does not state which of its two kernels it uses. Prune the "
            f'model before `quantize("{mode}")`, or calibrate it first.'
        )
    if mode is not None and new.quantization_mode is None and new.built:
        # A layer inside another one, whose configuration does not state this.
        config = getattr(old, "quantization_config", None)
        new.quantize(mode, **({} if config is None else {"config": config}))
    # No configuration contains these flags.
    for name in ("is_gptq_calibrated", "is_awq_calibrated"):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))
