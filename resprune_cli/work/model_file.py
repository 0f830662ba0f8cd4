"""Reading models from files that others made."""

import contextlib
import sys
import warnings

import keras

from resprune_cli.options.usage import WrongUse
from resprune_tf import ImportanceScale, compile_like, expand, graph, with_input_shape
from resprune_tf.system.model_files import ModelFileError, load_model, read_config
from resprune_tf.system.progress import say

_CLASS = ("class_name", "module", "registered_name")
# Classes that Keras finds by itself, and ours.
_KNOWN_MODULES = ("keras", "keras_hub", "resprune_tf")


def load(path, args, compile=False):
    """A functional model from a `.keras` file, or an `.h5` file of a whole model.

    Nothing in the file is unpickled and `safe_mode` stays on, unless `allow_lambda`.

    Args:
        path: of the file.
        args: parsed arguments with `imports`, `allow_lambda` and `input_shape`.
        compile: whether to restore loss, metrics and optimizer, where they can be.

    Raises:
        WrongUse: if it is no such file, has a Lambda that is not allowed, a class
            that no `--import` registered, or no graph to read.
    """
    say(f"Loading {path} ...")
    classes = _classes(path)
    if "Lambda" in classes and not args.allow_lambda:
        raise WrongUse(
            f"'{path}' has a Lambda layer, whose code is stored in the file and would "
            "run. If you trust the file: --allow-lambda."
        )
    unknown = sorted(
        name
        for name, (module, registered) in classes.items()
        if module is not None
        and module.partition(".")[0] not in (*_KNOWN_MODULES, "builtins")
        and keras.saving.get_registered_object(registered or name) is None
    )
    if unknown and not args.imports:
        raise WrongUse(
            f"'{path}' has layers of its own: {', '.join(unknown)}. Name the Python "
            "module that defines them: --import MODULE."
        )
    safe = not args.allow_lambda
    try:
        model = _loaded(path, compile, safe)
    except ModelFileError as error:
        raise WrongUse(str(error)) from error
    except Exception as error:
        reason = _first_line(error)
        if unknown:
            reason = f"no module that was imported defines {', '.join(unknown)}."
        raise WrongUse(f"'{path}' cannot be loaded: {reason}") from error
    try:
        graph.check_functional(model, "The command line")
    except TypeError as error:
        raise WrongUse(
            f"'{path}' holds a {type(model).__name__} without a graph of layers to "
            "read. A Sequential must be built, by being called once, before it is "
            "saved. A model with a `call` of its own must be made functional by "
            "whoever has its code (Python: resprune_tf.expand(model, inputs=...))."
        ) from error
    return model if args.input_shape is None else _sized(model, args.input_shape)


def _sized(model, shape):
    try:
        return compiled_as(with_input_shape(model, shape), model)
    except ValueError as error:
        raise WrongUse(f"--input-shape does not fit: {error}") from error


def open_layers(args, compile=False):
    """The model of `args.model`, its blocks opened with `args.expand`.

    Raises:
        WrongUse: as `load` does; or if no block can be opened.
    """
    model = load(args.model, args, compile)
    if not args.expand:
        return model
    try:
        return compiled_as(expand(model), model)
    except (ValueError, TypeError) as error:
        raise WrongUse(f"--expand: {error}") from error


def opened_as_far_as_possible(model):
    """A model with the blocks opened that can be; itself where none can be."""
    try:
        return compiled_as(expand(model), model)
    except (ValueError, TypeError):
        return model


def _loaded(path, compile, safe):
    if compile:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the optimizer's state, not needed
            return load_model(path, safe_mode=safe)
    model = load_model(path, compile=False, safe_mode=safe)
    if compile:  # a loss or metric of the user's own; the net will do
        print(
            f"{path}: its loss, metrics and optimizer cannot be restored.",
            file=sys.stderr,
        )
    return model


def _classes(path):
    """Classes in the model of a file: dict from name to module and registered name."""
    try:
        config, _ = read_config(path)
    except ModelFileError as error:
        raise WrongUse(str(error)) from error
    found, left = {}, [config["config"], config]
    config.pop("compile_config", None)  # what cannot be restored is left out
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
                        f"'{path}' is no model as model.save('model.keras') writes it: "
                        "in its config.json a class must be named by strings. "
                        f"Received: {[name, *place]}."
                    )
                found[name] = tuple(place)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def _first_line(error):
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def compiled_as(new, model):
    """`new`, compiled as a model is, if that is compiled."""
    if model.compiled:
        compile_like(new, model)
    return new


def without_importances(model):
    """A model of Keras's own layers: each ω a constant in a `Rescaling`.

    Unlike a folded one it can be trained on. Not compiled.
    """

    def clone(operation):
        if type(operation) is not ImportanceScale:
            return graph.clone_operation(operation)
        return keras.layers.Rescaling(
            float(keras.ops.convert_to_numpy(operation.importance)),
            dtype=operation.dtype_policy,
            name=operation.name,
        )

    def copy(old, new):
        if type(old) is not ImportanceScale:
            graph.copy_state(old, new)

    return graph.rebuild(model, clone=clone, copy=copy)
