"""Marks by which a run that continues recognizes its model and its criterion."""

import functools
import json
import math
import types
import warnings
import zlib

import keras
import numpy as np

from resprune_tf.system.checksum import checksum, weights_agree

# Terms of one period of the projections; a prime, so that no tensor's shape divides it.
_PERIOD = 65_521
_PROJECTIONS = 3
# What differs from one process to the next, or says where code is and not what it does.
_LEFT_OUT = {"seed", "build_config", "compile_config", "module", "registered_name"}
_FRAMEWORKS = ("keras", "tensorflow", "jax", "numpy")


def model_identity(model: keras.Model) -> dict:
    """Architecture and weights of a model, in few numbers, as JSON values.

    Args:
        model: a functional `keras.Model`. Names of its layers do not count, because
            Keras numbers them, nor do seeds.

    Returns:
        `"architecture"`: a checksum, 8 hexadecimal digits. `"weights"`: a list of four
        numbers, to be compared by `weights_agree`: the norm of all weights and three
        projections of them. A checksum would change with the rounding of another
        machine, on which a seed gives the same weights but for the last digit.
    """
    return {
        "architecture": f"{_architecture(model):08x}",
        "weights": _projections(model.get_weights()),
    }


def same_model(model: keras.Model, other: dict) -> bool:
    """Whether a model has the identity `other`."""
    own = model_identity(model)
    return own["architecture"] == other["architecture"] and weights_agree(
        own["weights"], other["weights"]
    )


def _projections(weights):
    angles = np.outer(np.arange(1, _PROJECTIONS + 1), np.arange(_PERIOD))
    patterns, sums = np.cos(angles), np.zeros(_PROJECTIONS)
    squares, place = 0.0, 0
    for array in weights:
        flat = np.asarray(array).ravel()
        begin = 0
        while begin < flat.size:
            part = flat[begin : begin + _PERIOD - place].astype("float64")
            sums += patterns[:, place : place + part.size] @ part
            squares += float(part @ part)
            begin, place = begin + part.size, (place + part.size) % _PERIOD
    return [math.sqrt(squares), *sums.tolist()]


def _architecture(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = keras.saving.serialize_keras_object(model)
    names = dict.fromkeys(layer.name for layer in model._flatten_layers())
    _collect_names(config, names)
    numbers = {name: number for number, name in enumerate(names)}
    text = json.dumps(_nameless(config, numbers), sort_keys=True)
    return zlib.crc32(text.encode())


def _collect_names(config, names):
    if isinstance(config, dict):
        if "inbound_nodes" in config:
            names[config.get("name")] = None
        config = config.values()
    elif not isinstance(config, (list, tuple)):
        return
    for value in config:
        _collect_names(value, names)


def _nameless(config, numbers):
    """A configuration with the layers' names as numbers, without what is left out."""
    if isinstance(config, dict):
        omitted = {*_LEFT_OUT, "code"} if _is_lambda(config) else _LEFT_OUT
        kept = {
            str(key): _nameless(value, numbers)
            for key, value in config.items()
            if key not in omitted
            and not (key == "name" and isinstance(value, str) and value in numbers)
        }
        # Later versions of Keras add options whose default is one of these.
        return {
            key: value for key, value in kept.items() if value not in (None, {}, [], "")
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
    # The code of a Lambda holds the path of its file.
    return "code" in config and "closure" in config


def criterion_settings(criterion) -> dict:
    """What a run's settings say of its criterion, as JSON values.

    Args:
        criterion: a function from a model to scores, or another callable object.

    Returns:
        `"criterion"`: its name. `"criterion_code"`, 8 hexadecimal digits: a checksum of
        its code and of the values that it uses; of the arrays among these alone if it
        has a name of its own, and left out if there are none. The name is its own if
        it is that of a function of a module, or if it was set, as in
        `criterion.__name__ = "random(seed 0)"`.
    """
    name = getattr(criterion, "__name__", type(criterion).__qualname__)
    used = criterion
    if _has_own_name(criterion):
        used = _arrays(criterion)
        if not used:
            return {"criterion": name}
    code = zlib.crc32(repr(_described(used, ())).encode())
    return {"criterion": name, "criterion_code": f"{code:08x}"}


def _arrays(function):
    """The arrays that a function closes over, or a function that it closes over."""
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
    # A function inside another: its values differ from call to call of that.
    local = getattr(function, "__qualname__", name)
    return "<locals>" not in local or local.rpartition(".")[2] != name


def _described(value, seen):
    """A value in plain terms whose `repr` is the same in every process."""
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
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not assigned yet
        return None


def _names(code):
    """Names of globals and attributes that code uses, that of inner functions too."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return {*code.co_names}.union(*map(_names, inner))
