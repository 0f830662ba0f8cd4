"""Checks the requirements of formats, and writes models in them."""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from collections.abc import Sequence

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
    """A model cannot be written, or the written file fails or has other outputs."""


def check_formats(formats: str | Sequence[str]) -> tuple[str, ...]:
    """Checks the formats of `export` before any work.

    Args:
        formats: one or more names, as for `export`.

    Returns:
        tuple of str, the formats without aliases and repetitions.

    Raises:
        ValueError: if a format is unknown or missing, or if the Keras backend in use
            cannot write it.
        ImportError: if a package that a format needs is not installed. The message
            states what to install.

    >>> rp.check_formats(["tflite", "onnx"])
    ('litert', 'onnx')
    """
    names = (formats,) if isinstance(formats, str) else formats
    formats = tuple(dict.fromkeys(map(known_as, names)))
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(
            f"`formats` must be one or more of {', '.join(FORMATS)}. "
            f"Received: formats={formats}."
        )
    backend = keras.backend.backend()
    for name in formats:
        if backend not in FORMATS[name].backends:
            raise ValueError(
                f"The format '{name}' requires the Keras backend "
                f"{' or '.join(FORMATS[name].backends)}. Received: {backend}. Export "
                "the format 'keras' here. Then load that file with "
                f"KERAS_BACKEND=tensorflow and export it as '{name}'."
            )
        _check_packages(name)
    return formats


# TensorFlow matches paths as patterns. These characters then do not match themselves,
# unlike * and ?.
_PATTERNS = "[\\"


def check_place(folder, formats):
    """Raises a ValueError if models cannot be written to a folder.

    Args:
        folder: path of the folder, which need not exist.
        formats: what `check_formats` returned.
    """
    problem = folder_problem(folder)
    by_tensorflow = [name for name in formats if FORMATS[name].from_saved_model]
    if not problem and by_tensorflow:
        if found := sorted({*os.path.realpath(folder)}.intersection(_PATTERNS)):
            problem = (
                f"TensorFlow, which writes '{by_tensorflow[0]}', reads "
                f"{' '.join(found)} in a path as a pattern"
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
    command = f'pip install ".[{extra}]"' if extra else "pip install tensorflow"
    place = " in a clone of resprune_tf" if extra else ""
    raise ImportError(
        f"The format '{name}' requires packages that are not installed: "
        f"{', '.join(missing)}. Run `{command}`{place}, or omit the format."
    )


def in_float32(model):
    """Returns a model with the same weights that computes in float32.

    Args:
        model: a functional `keras.Model`; it is not changed.

    Returns:
        `model` itself if all its layers compute in float32, otherwise a copy with the
        policy float32 in all layers.
    """

    def has_other_dtype(operation):
        if not isinstance(operation, keras.layers.Layer):
            return False  # it computes in the dtype of its inputs
        dtype = operation.compute_dtype
        return dtype != "float32" and keras.backend.is_float_dtype(dtype)

    if not any(map(has_other_dtype, model._flatten_layers(include_self=False))):
        return model

    def clone(operation):
        if not has_other_dtype(operation):
            return graph.clone_operation(operation)
        # A quantized layer stays quantized, as with `int8_from_mixed_bfloat16`.
        quantized, taken_from, _ = operation.dtype_policy.name.rpartition("_from_")
        return type(operation).from_config(
            {**operation.get_config(), "dtype": quantized + taken_from + "float32"}
        )

    copy = graph.rebuild(model, clone=clone)
    for layer in copy._flatten_layers():
        if has_other_dtype(layer):  # the model itself and nested models
            layer.dtype_policy = keras.DTypePolicy("float32")
    return copy


def write(name, model, folder, calibration=None):
    """Writes a model in one format.

    Args:
        name: one of `FORMATS`.
        model: a functional `keras.Model` that computes in float32.
        folder: `pathlib.Path` of a folder for this model only. Some formats are
            converted from a SavedModel, which stays there for the other formats.
        calibration: for a calibrated format, a list of inputs of one image each. An
            input is a list of arrays, one per input of the model.

    Returns:
        `pathlib.Path` of the file or folder.

    Raises:
        ExportError: if the converter rejects the model.
        DiskFullError: if there is no space left in `folder`.
    """
    path = folder / FORMATS[name].file
    try:
        with warnings.catch_warnings():
            for message, category in _IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            format = FORMATS[name]
            format.write(model, path, calibration, **format.options)
    except Exception as error:
        if full := full_disk(error, folder):
            raise full from error
        raise ExportError(
            f"'{model.name}' cannot be written as '{name}'. The converter failed with "
            f"{type(error).__name__}: {_reason(error)}"
        ) from error
    return path


def write_folded(name, model, folder, calibration=None):
    """Writes a model folded and in float32, as `export` does, but without the check.

    Args:
        name: one of `FORMATS`.
        model: a functional `keras.Model`; it is not changed.
        folder: `pathlib.Path` of a folder for this model only.
        calibration: as for `write`. A calibrated format uses noise by default. The file
            then has the right size and speed, but its outputs are not meaningful.

    Returns:
        `pathlib.Path` of the file or folder.

    Raises:
        ExportError, DiskFullError: as for `write`.
        ValueError: if the model does not accept noise.
    """
    plain = fold(in_float32(graph.as_functional(model, "write_folded")))
    if calibration is None and FORMATS[name].calibrated:
        calibration = noise_to_calibrate(plain)
    return write(name, plain, folder, calibration)


# Warnings about deprecated functions that the converters call themselves.
_IGNORED_WARNINGS = ((r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning),)


def _reason(error):
    """The unsupported operations in a converter's error, or its first lines."""
    missing = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.MULTILINE)
    if missing:
        return f"its runtime does not support {', '.join(missing)}."
    lines = str(error).strip().splitlines()  # the message may contain a whole graph
    return "\n".join(line[:200] for line in lines[:6])


def write_keras(model, path, calibration):
    """Writes a `.keras` file."""
    model.save(path)


def write_saved_model(model, path, calibration):
    """Writes a SavedModel, unless one exists as the source of another format."""
    if path.exists():
        return
    options = {}
    if keras.backend.backend() == "jax":
        # By default the file would run only on the kind of device that exported it.
        options["jax2tf_kwargs"] = {
            "native_serialization": True,
            "native_serialization_platforms": ("cpu", "cuda"),
        }
    at_inference(model).export(path, format="tf_saved_model", verbose=False, **options)


def write_litert_file(model, path, calibration, quantise=None):
    """Writes a LiteRT file, converted from a SavedModel."""
    source = path.with_name(FORMATS["saved_model"].file)
    write_saved_model(model, source, None)
    write_litert(source, path, input_names(model), quantise, calibration)


def write_onnx_file(model, path, calibration):
    """Writes an ONNX file, converted from a SavedModel."""
    source = path.with_name(FORMATS["saved_model"].file)
    write_saved_model(model, source, None)
    write_onnx(source, path, input_names(model))
