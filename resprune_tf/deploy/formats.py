"""Formats: what each one needs, and how a model is written in it."""

from __future__ import annotations

import importlib.util
import os
import re
import warnings

import keras

from resprune_tf import graph
from resprune_tf.deploy.example_inputs import noise_to_calibrate
from resprune_tf.deploy.folding import fold
from resprune_tf.deploy.litert_form import write_litert
from resprune_tf.deploy.onnx_form import write_onnx
from resprune_tf.deploy.registry import FORMATS, known_as
from resprune_tf.deploy.signature import at_inference, input_names
from resprune_tf.system.disk import folder_problem, full_disk


class ExportError(RuntimeError):
    """What was written does not run on its own or computes something else, or it could
    not be written."""


def check_formats(formats):
    """Raises what `export` would raise for `formats`, before any work is done.

    Args:
        formats: one name or several, as for `export`.

    Returns:
        tuple of str: the formats, each once.

    Raises:
        ValueError: if a format is unknown, there is none, or the Keras backend in use
            cannot write one.
        ImportError: if a package that a format needs is not installed; it says what to
            install.
    """
    names = (formats,) if isinstance(formats, str) else formats
    formats = tuple(dict.fromkeys(map(known_as, names)))
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(
            f"Supported formats: {', '.join(FORMATS)}. Received: formats={formats}."
        )
    backend = keras.backend.backend()
    for name in formats:
        if backend not in FORMATS[name].backends:
            raise ValueError(
                f"The format '{name}' is written on the Keras backend "
                f"{' or '.join(FORMATS[name].backends)}, not on {backend}. Export "
                "'keras' here and that file, loaded under KERAS_BACKEND=tensorflow, "
                f"as '{name}'."
            )
        _check_packages(name)
    return formats


# TensorFlow takes * and ? for themselves, too, which these are not.
_PATTERNS = "[\\"


def check_place(folder, formats):
    """Raises a ValueError if a model could not be written in a folder.

    Args:
        folder: path; it need not be there.
        formats: what `check_formats` returned.
    """
    problem = folder_problem(folder)
    through = [name for name in formats if FORMATS[name].from_saved_model]
    if not problem and through:
        if found := sorted({*os.path.realpath(folder)}.intersection(_PATTERNS)):
            problem = (
                f"TensorFlow, which writes '{through[0]}', reads {' '.join(found)} in "
                "a path as a pattern"
            )
    if problem:
        raise ValueError(
            f"Cannot write '{folder}': {problem}. Choose another folder to export to."
        )


def _check_packages(name):
    packages = {p: importlib.util.find_spec(p) for p in FORMATS[name].packages}
    missing = [package for package, found in packages.items() if found is None]
    if not missing:
        return
    extra = FORMATS[name].extra
    raise ImportError(
        f"The format '{name}' needs {' and '.join(missing)}, not installed here. "
        + (
            f'`pip install "resprune_tf[{extra}]"`'
            if extra
            else "`pip install tensorflow`"
        )
        + ", or leave the format out."
    )


def in_float32(model):
    """A model that computes in float32, whatever precision `model` computes in.

    Args:
        model: a functional `keras.Model`; it is only read.

    Returns:
        `model` itself if its layers all compute in float32; else a copy with the same
        values in float32, of policy float32 throughout.
    """

    def deviates(operation):
        if not isinstance(operation, keras.layers.Layer):
            return False  # follows its inputs
        dtype = operation.compute_dtype
        return dtype != "float32" and keras.backend.is_float_dtype(dtype)

    if not any(map(deviates, model._flatten_layers(include_self=False))):
        return model

    def clone(operation):
        if not deviates(operation):
            return graph.clone_operation(operation)
        # A quantized layer stays so: `int8_from_mixed_bfloat16`.
        quantized, taken_from, _ = operation.dtype_policy.name.rpartition("_from_")
        return type(operation).from_config(
            {**operation.get_config(), "dtype": quantized + taken_from + "float32"}
        )

    copy = graph.rebuild(model, clone=clone)
    for layer in copy._flatten_layers():
        if deviates(layer):  # the model itself and those nested in it
            layer.dtype_policy = keras.DTypePolicy("float32")
    return copy


def write(name, model, folder, calibration=None):
    """Writes a model in one format.

    Args:
        name: one of `FORMATS`.
        model: a functional `keras.Model` that computes in float32.
        folder: `pathlib.Path` of a folder for this model alone. Some formats are
            converted from the SavedModel, which is then left there for the others.
        calibration: for a format that is calibrated, a list of inputs, each a list of
            arrays of one image, one array for each of `model.inputs`.

    Returns:
        `pathlib.Path`: what was written.

    Raises:
        ExportError: if the converter refuses the model.
        DiskFullError: if there is no space left in `folder`.
    """
    path = folder / FORMATS[name].file
    try:
        with warnings.catch_warnings():
            for message, category in _NOT_FOR_US:
                warnings.filterwarnings("ignore", message, category)
            format = FORMATS[name]
            format.write(model, path, calibration, **format.options)
    except Exception as error:
        if full := full_disk(error, folder):
            raise full from error
        raise ExportError(
            f"'{model.name}' cannot be written as '{name}': its converter ended with "
            f"{type(error).__name__}: {_reason(error)}"
        ) from error
    return path


def write_folded(name, model, folder, calibration=None):
    """Writes a model in one format as `export` does: folded, in float32. Not checked.

    Args:
        name: one of `FORMATS`.
        model: a functional `keras.Model`; it is only read.
        folder: `pathlib.Path` of a folder for this model alone.
        calibration: as for `write`. By default noise, where a format is calibrated:
            it will do for a file's size and speed, not for what the file computes.

    Returns:
        `pathlib.Path`: what was written.

    Raises:
        ExportError, DiskFullError: as `write` does.
        ValueError: if noise will not do.
    """
    plain = fold(in_float32(graph.as_functional(model, "write_folded")))
    if calibration is None and FORMATS[name].calibrated:
        calibration = noise_to_calibrate(plain)
    return write(name, plain, folder, calibration)


# What Keras and TensorFlow do inside their own converters.
_NOT_FOR_US = ((r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning),)


def size_of(path):
    """Bytes of what `write` wrote, files of a directory added up."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _reason(error):
    """What a converter says: the operations that are in its way, or its first lines."""
    missing = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.MULTILINE)
    if missing:
        return f"its runtime does not have {', '.join(missing)}."
    lines = str(error).strip().splitlines()  # which may be a whole graph
    return "\n".join(line[:200] for line in lines[:6])


def write_keras(model, path, calibration):
    """A `.keras` file."""
    model.save(path)


def write_saved_model(model, path, calibration):
    """A SavedModel, unless there is one as the source of another format."""
    if path.exists():
        return  # as the source of another format
    options = {}
    if keras.backend.backend() == "jax":
        # Without this it would run on the kind of device it was exported on alone.
        options["jax2tf_kwargs"] = {
            "native_serialization": True,
            "native_serialization_platforms": ("cpu", "cuda"),
        }
    at_inference(model).export(path, format="tf_saved_model", verbose=False, **options)


def write_litert_file(model, path, calibration, quantise=None):
    """A LiteRT file, from the SavedModel."""
    source = path.with_name(FORMATS["saved_model"].file)
    write_saved_model(model, source, None)
    write_litert(source, path, input_names(model), quantise, calibration)


def write_onnx_file(model, path, calibration):
    """An ONNX file, from the SavedModel."""
    source = path.with_name(FORMATS["saved_model"].file)
    write_saved_model(model, source, None)
    write_onnx(source, path, input_names(model))
