"""Loads models from files that may come from untrusted sources."""

import contextlib
import sys
import warnings

import keras

from resprune_cli.options.usage import WrongUse
from resprune_tf import ImportanceScale, compile_like, expand, graph, with_input_shape
from resprune_tf.system.model_files import ModelFileError, load_model, read_config
from resprune_tf.system.progress import say
from resprune_tf.system.wording import first_line

_CLASS = ("class_name", "module", "registered_name")
# Packages whose classes Keras finds without `--import`.
_KNOWN_MODULES = ("keras", "keras_hub", "resprune_tf")


def load(path, args, compile=False):
    """Loads a functional model from a file (see `values.MODEL_FILE`).

    Nothing is unpickled, and `safe_mode` is on unless `allow_lambda` is given.

    Args:
        path: path of the file.
        args: parsed arguments with `imports`, `allow_lambda` and `input_shape`.
        compile: whether to restore loss, metrics and optimizer if possible.

    Raises:
        WrongUse: if the file contains no model, a Lambda layer that is not allowed, a
            class that no `--import` registered, or a model without a graph.
    """
    say(f"Loading {path} ...")
    classes = _classes(path)
    if "Lambda" in classes and not args.allow_lambda:
        raise WrongUse(
            f"'{path}' has a Lambda layer, whose code is stored in the file and would "
            "run. If you trust the file, give --allow-lambda."
        )
    unknown = sorted(
        name
        for name, (module, registered) in classes.items()
        if _is_custom(module, registered)
        and keras.saving.get_registered_object(registered or name) is None
    )
    if unknown and not args.imports:
        raise WrongUse(
            f"'{path}' has custom layers: {', '.join(unknown)}. Name the Python module "
            "that defines them by --import MODULE."
        )
    safe = not args.allow_lambda
    try:
        model = _loaded(path, compile, safe)
    except ModelFileError as error:
        raise WrongUse(str(error)) from error
    except Exception as error:
        reason = first_line(error)
        if unknown:
            reason = f"no imported module defines {', '.join(unknown)}."
        raise WrongUse(f"'{path}' cannot be loaded: {reason}") from error
    try:
        graph.check_functional(model, "The command line")
    except TypeError as error:
        raise WrongUse(
            f"'{path}' contains a {type(model).__name__} without a graph of layers. "
            "Build a Sequential before saving it, by calling it once. Convert a model "
            "with its own `call` to a functional model with the code that defines it "
            "(Python: resprune_tf.expand(model, inputs=...))."
        ) from error
    return model if args.input_shape is None else _sized(model, args.input_shape)


def _sized(model, shape):
    try:
        return compiled_as(with_input_shape(model, shape), model)
    except ValueError as error:
        raise WrongUse(f"--input-shape does not fit the model: {error}") from error


def load_expanded(args, compile=False):
    """Loads `args.model`, and expands its blocks if `args.expand` is set.

    Raises:
        WrongUse: as `load`; or if no block can be expanded.
    """
    model = load(args.model, args, compile)
    if not args.expand:
        return model
    try:
        return compiled_as(expand(model), model)
    except (ValueError, TypeError) as error:
        raise WrongUse(f"--expand: {error}") from error


def expanded_if_possible(model):
    """Expands the blocks of a model; returns the model itself if none can be."""
    try:
        return compiled_as(expand(model), model)
    except (ValueError, TypeError):
        return model


def _loaded(path, compile, safe):
    if compile:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimizer's state is not needed
            return load_model(path, safe_mode=safe)
    model = load_model(path, compile=False, safe_mode=safe)
    if compile:  # a custom loss or metric; the model itself is usable
        print(
            f"{path}: loss, metrics and optimizer cannot be restored.",
            file=sys.stderr,
        )
    return model


def _is_custom(module, registered):
    if module is None:  # Keras stores no module of a registered class
        return ">" in (registered or "")
    return module.partition(".")[0] not in (*_KNOWN_MODULES, "builtins")


def _classes(path):
    """Classes in a model file: dict from name to `(module, registered name)`."""
    try:
        config, _ = read_config(path)
    except ModelFileError as error:
        raise WrongUse(str(error)) from error
    found, left = {}, [config["config"], config]
    config.pop("compile_config", None)  # a model can be used without its loss
    while left:
        value = left.pop()
        if isinstance(value, dict):
            # Keras 2 wrote no registered names.
            if "class_name" in value and {"registered_name", "config"} & value.keys():
                name, *place = map(value.get, _CLASS)
                if not isinstance(name, str) or not all(
                    each is None or isinstance(each, str) for each in place
                ):
                    raise WrongUse(
                        f"'{path}' is not a model as written by "
                        "model.save('model.keras'): classes in its config.json must be "
                        f"named by strings. Received: {[name, *place]}."
                    )
                found[name] = tuple(place)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def compiled_as(new, model):
    """Compiles `new` like `model` if that is compiled; returns `new`."""
    if model.compiled:
        compile_like(new, model)
    return new


def without_importances(model):
    """Copies a model and replaces each factor ω by a `Rescaling` of Keras.

    Unlike a folded model, the copy can be trained further. It is not compiled.
    """

    def clone(operation):
        if type(operation) is ImportanceScale:
            return operation.to_rescaling()
        return graph.clone_operation(operation)

    def copy(old, new):
        if type(old) is not ImportanceScale:
            graph.copy_state(old, new)

    return graph.rebuild(model, clone=clone, copy=copy)
