"""Checksums by which a continued run recognizes its model and its criterion."""

import functools
import json
import math
import types
import warnings
import zlib

import keras
import numpy as np

from resprune_tf.system.checksum import checksum

# Period of the projections. It is a prime, so it divides no size of a usual tensor.
_PERIOD = 65_521
_PROJECTIONS = 3
# These differ between processes, or state where code is and not what it does.
_OMITTED = {"seed", "build_config", "compile_config", "module", "registered_name"}
_FRAMEWORKS = ("keras", "tensorflow", "jax", "numpy")


def model_identity(model: keras.Model) -> dict:
    """Describes the architecture and the weights of a model in a few JSON values.

    Args:
        model: a functional `keras.Model`. Seeds do not count, and neither do the names
            of its layers, because Keras numbers them.

    Returns:
        dict with `"architecture"`, a checksum of 8 hexadecimal digits, and `"weights"`,
        a list of four numbers to compare by `weights_agree`: the norm of all weights
        and three projections of them. A checksum of the weights would depend on the
        rounding of the machine that initialized them.
    """
    return {
        "architecture": f"{_architecture(model):08x}",
        "weights": _projections(model.get_weights()),
    }


def _projections(weights):
    """The norm of all weights, and their inner products with periodic patterns.

    The weights are read in parts, so that no large array is copied as a whole.
    """
    angles = np.outer(np.arange(1, _PROJECTIONS + 1), np.arange(_PERIOD))
    patterns, sums = np.cos(angles), np.zeros(_PROJECTIONS)
    squares, place = 0.0, 0
    for array in weights:
        flat = np.asarray(array).ravel()
        start = 0
        while start < flat.size:
            part = flat[start : start + _PERIOD - place].astype("float64")
            sums += patterns[:, place : place + part.size] @ part
            squares += float(part @ part)
            start, place = start + part.size, (place + part.size) % _PERIOD
    return [math.sqrt(squares), *sums.tolist()]


def _architecture(model):
    """Checksum of the configuration of a model, without layer names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = keras.saving.serialize_keras_object(model)
    names = dict.fromkeys(layer.name for layer in model._flatten_layers())
    _collect_names(config, names)
    numbers = {name: number for number, name in enumerate(names)}
    text = json.dumps(_nameless(config, numbers), sort_keys=True)
    return zlib.crc32(text.encode())


def _collect_names(config, names):
    """Adds the names of all layers and operations in a configuration to `names`."""
    if isinstance(config, dict):
        if "inbound_nodes" in config:
            names[config.get("name")] = None
        config = config.values()
    elif not isinstance(config, (list, tuple)):
        return
    for value in config:
        _collect_names(value, names)


def _nameless(config, numbers):
    """A configuration with numbers for layer names and without `_OMITTED` keys."""
    if isinstance(config, dict):
        omitted = {*_OMITTED, "code"} if _is_lambda(config) else _OMITTED
        fields = {
            str(key): _nameless(value, numbers)
            for key, value in config.items()
            if key not in omitted
            and not (key == "name" and isinstance(value, str) and value in numbers)
        }
        # Newer versions of Keras add options whose default is one of these.
        return {
            key: value
            for key, value in fields.items()
            if value not in (None, {}, [], "")
        }
    if isinstance(config, (list, tuple)):
        if len(config) >= 3 and isinstance(config[0], str) and config[0] in numbers:
            return [numbers[config[0]], *(_nameless(v, numbers) for v in config[1:])]
        return [_nameless(value, numbers) for value in config]
    if isinstance(config, (np.ndarray, np.generic)):
        return config.tolist()
    if isinstance(config, (str, int, float, type(None))):
        return None if config is False else config
    return type(config).__name__


def _is_lambda(config):
    # The code of a Lambda contains the path of its file.
    return "code" in config and "closure" in config


def criterion_settings(criterion) -> dict:
    """Describes the criterion of a run in JSON values.

    A criterion has its own name if it is a function of a module, or if its name was
    set, as in `criterion.__name__ = "random(seed 0)"`.

    Args:
        criterion: a function from a model to scores, or another callable object.

    Returns:
        dict with `"criterion"`, its name, and `"criterion_code"`, a checksum of 8
        hexadecimal digits of its code and of the values that it uses. If the criterion
        has its own name, the checksum covers only the arrays that it uses. It is
        missing if there are none, or if they differ between processes and the criterion
        says so by an attribute `arrays_vary`.
    """
    name = getattr(criterion, "__name__", type(criterion).__qualname__)
    used = criterion
    if _has_own_name(criterion):
        used = _arrays(criterion)
        if not used or getattr(criterion, "arrays_vary", False):
            return {"criterion": name}
    code = zlib.crc32(repr(_described(used, ())).encode())
    return {"criterion": name, "criterion_code": f"{code:08x}"}


def _arrays(function):
    """The arrays in the closure of a function, and in those of functions in it."""
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        for value in keras.tree.flatten(_content(cell)):
            if isinstance(value, np.ndarray):
                found.append(value)
            elif isinstance(value, types.FunctionType) and value is not function:
                found += _arrays(value)
    return found


def _has_own_name(function):
    name = getattr(function, "__name__", None)
    if name is None or name == "<lambda>" or isinstance(function, types.MethodType):
        return False
    # The values of a nested function differ between calls of the outer function.
    local = getattr(function, "__qualname__", name)
    return "<locals>" not in local or local.rpartition(".")[2] != name


def _described(value, seen):
    """A description of a value whose `repr` is the same in every process."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if value is None or isinstance(
        value, (bool, int, float, complex, str, bytes, np.generic)
    ):
        return repr(value)
    if id(value) in seen:
        return "itself"
    seen = (*seen, id(value))
    if isinstance(value, np.ndarray):
        plain = value if value.dtype != object else np.array(list(map(repr, value)))
        return kind, value.shape, str(value.dtype), checksum([plain])
    if isinstance(value, dict):
        return kind, [
            (_described(k, seen), _described(v, seen)) for k, v in value.items()
        ]
    if isinstance(value, (set, frozenset)):
        return kind, sorted(repr(_described(each, seen)) for each in value)
    if isinstance(value, (list, tuple)):
        return kind, [_described(each, seen) for each in value]
    if isinstance(value, functools.partial):
        return kind, _described((value.func, value.args, value.keywords), seen)
    if isinstance(value, types.MethodType):
        return kind, _described((value.__func__, value.__self__), seen)
    if isinstance(value, types.CodeType):
        return kind, value.co_code, value.co_names, _described(value.co_consts, seen)
    if isinstance(value, types.FunctionType) and not _has_own_name(value):
        used = (value.__code__, value.__defaults__, value.__kwdefaults__)
        cells = list(map(_content, value.__closure__ or ()))
        shared = {
            name: value.__globals__[name]
            for name in sorted(_names(value.__code__))
            if name in value.__globals__
        }
        return kind, _described((used, cells, shared), seen)
    if isinstance(value, keras.layers.Layer):
        return kind, checksum(value.get_weights())
    if callable(getattr(value, "__array__", None)):
        return _described(np.asarray(value), seen)
    if hasattr(value, "__qualname__"):
        return kind, value.__qualname__
    if kind.partition(".")[0] in _FRAMEWORKS or isinstance(value, types.ModuleType):
        return kind, getattr(value, "__name__", "")
    return kind, _described(getattr(value, "__dict__", {}), seen)


def _content(cell):
    """The value of a closure cell; None if it is empty."""
    try:
        return cell.cell_contents
    except ValueError:  # the name is not assigned yet
        return None


def _names(code):
    """Names of globals and attributes that code and its inner functions use."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return {*code.co_names}.union(*map(_names, inner))
