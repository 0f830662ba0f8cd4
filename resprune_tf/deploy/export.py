"""Writes models for use without this package, and checks what they compute there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.deploy.example_inputs import images_to_calibrate, images_to_compare
from resprune_tf.deploy.folding import fold as fold_model
from resprune_tf.deploy.formats import (
    ExportError,
    check_formats,
    check_place,
    in_float32,
    write,
)
from resprune_tf.deploy.fresh_process import RuntimeFailed, in_fresh_process
from resprune_tf.deploy.registry import FORMATS, known_as
from resprune_tf.deploy.runtimes import BATCH, in_batches
from resprune_tf.deploy.signature import check_outputs, names_in
from resprune_tf.graph.outputs import decides
from resprune_tf.system.advice import advice
from resprune_tf.system.disk import size_of, staging_folder, writing
from resprune_tf.system.progress import tracked


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file or directory that `export` wrote and checked.

    Attributes:
        format: name of the format, such as `"saved_model"`.
        path: path of the file or directory.
        bytes: its size in bytes; the sum of all files of a directory.
        max_abs_difference: largest absolute difference to an output of the model.
        agreement: fraction of the images on which it predicts the class that the model
            predicts. None if the model is not a classifier, which has one output of
            shape `(batch, classes)` and no loss for another task.
    """

    format: str
    path: pathlib.Path
    bytes: int
    max_abs_difference: float
    agreement: float | None = None


def export(
    model: keras.Model,
    directory: str | os.PathLike,
    formats: Sequence[str] = ("saved_model", "keras"),
    images: Any = None,
    tolerance: float | Mapping[str, float] | None = None,
    fold: bool = True,
    calibration: Any = None,
) -> tuple[Exported, ...]:
    """Writes a model in one or more formats and checks the outputs of each.

    The model is folded (see `fold`) and written to a temporary folder in `directory`. A
    new Python process that cannot import this package loads every file and runs it on
    the CPU: on 1 and 3 of `images`, and on all of them in batches of 8. The files
    replace older ones in `directory` only if all outputs agree with those of `model`.
    Otherwise nothing changes.

    | format | file | runtime | tolerance |
    |---|---|---|---|
    | `"saved_model"` | `saved_model/` | TensorFlow | 1e-5 |
    | `"keras"` | `model.keras` | Keras, any backend | 1e-5 |
    | `"litert"` | `model.tflite` | LiteRT | 1e-5 |
    | `"litert_float16"` | `model_float16.tflite` | LiteRT | 1e-2 |
    | `"litert_int8"` | `model_int8.tflite` | LiteRT | 0.2 |
    | `"onnx"` | `model.onnx` | ONNX Runtime | 1e-5 |

    All files accept batches of any size in the input dtype of the model. Float16 files
    store the weights in float16. Int8 files use int8 weights and activations, except in
    operations without an int8 kernel in LiteRT. A model with mixed or half precision is
    written and compared with the same weights in float32.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.
        directory: path of the folder to write to, which is created if it is missing.
        formats: one or more names from the table; `"tflite"` and `"int8"` are aliases
            of `"litert"` and `"litert_int8"`.
        images: at least 4 inputs to compare on, in the structure of the model's inputs:
            for one input an array `(count, *input_shape)`. Defaults to 32 images of
            `calibration`, or to 8 images of standard normal noise. Use many real
            images: the estimate of agreement is only as good as the sample.
        tolerance: accepted difference, relative to the largest output or 1: a number
            for all formats, or a dict by format that overrides the table.
        fold: whether to fold the model first. Otherwise ω remains a custom layer, and
            the format `"keras"` fails its check.
        calibration: real images for `"litert_int8"`, prepared as for the model: an
            array, or an iterable of batches, such as a `tf.data.Dataset`, in which a
            tuple contains inputs and labels. About 100 images are sufficient; at most
            500 are used. Defaults to `images`.

    Returns:
        tuple of `Exported`, in the order of `formats`.

    Raises:
        ValueError: if a format is unknown or missing, if the Keras backend cannot write
            it, if it does not support the nesting of the model's outputs, if
            `directory` cannot be written or contains a character that TensorFlow reads
            as a pattern, if `images` are too few or do not fit, or if int8 has no real
            images.
        TypeError: if `model` is not functional.
        ImportError: if a package is missing. The message states what to install.
        DiskFullError: if there is no space left.
        ExportError: if a converter rejects the model, if a file cannot be loaded, or if
            its outputs differ.

    >>> exported = rp.export(result.model, "out", ["saved_model", "litert"], images)
    """
    formats = check_formats(formats)
    check_place(directory, formats)
    tolerances = _tolerances(tolerance)
    functional = graph.as_functional(model, "export")
    check_outputs(functional, formats)
    classifies = decides(model)
    model = in_float32(functional)
    calibrated = [name for name in formats if FORMATS[name].calibrated]
    if calibration is None and calibrated:
        calibration = images
        if images is None:
            raise ValueError(
                f"'{calibrated[0]}' measures the ranges of activations, which requires "
                "real images. Pass `calibration` or `images`."
            )
    if calibration is not None:
        calibration = images_to_calibrate(model, calibration)
    images = images_to_compare(model, images, calibration)
    plain = fold_model(model) if fold else model
    expected = _outputs(model, images)
    directory = pathlib.Path(directory)
    with writing(directory), contextlib.ExitStack() as stack:
        directory.mkdir(parents=True, exist_ok=True)
        staging = stack.enter_context(staging_folder(directory))
        results = []
        for name in tracked(
            formats,
            lambda name: f"Writing and checking {directory / FORMATS[name].file}",
        ):
            path = write(name, plain, staging, calibration)
            outputs = _exported_outputs(name, path, plain, images)
            difference = _largest_difference(name, outputs, expected, tolerances[name])
            agreement = _agreement(*outputs[-1], *expected) if classifies else None
            results.append(
                Exported(
                    format=name,
                    path=directory / path.name,
                    bytes=size_of(path),
                    max_abs_difference=difference,
                    agreement=agreement,
                )
            )
        for exported in results:
            _move(staging / exported.path.name, exported.path, staging)
    return tuple(results)


def _tolerances(tolerance):
    """The tolerance of each format, as a dict."""
    defaults = {name: format.tolerance for name, format in FORMATS.items()}
    if tolerance is None:
        return defaults
    if not isinstance(tolerance, Mapping):
        return dict.fromkeys(defaults, tolerance)
    tolerance = {known_as(name): value for name, value in tolerance.items()}
    if not set(tolerance) <= set(defaults):
        raise ValueError(
            f"The keys of `tolerance` must be formats: {', '.join(FORMATS)}. "
            f"Received: {tolerance}."
        )
    return {**defaults, **tolerance}


def _outputs(model, images):
    """Outputs of a Keras model as a list of float32 arrays."""

    def run(feed):
        inputs = keras.tree.pack_sequence_as(model._inputs_struct, list(feed.values()))
        outputs = keras.tree.flatten(model(inputs, training=False))
        return list(map(keras.ops.convert_to_numpy, outputs))

    # The check runs on the CPU too; accelerators round convolutions differently.
    with keras.device("cpu:0"):
        return in_batches(run, dict(enumerate(images)), BATCH)


def _counts(arrays):
    return (1, 3, len(arrays[0]))


def _exported_outputs(name, path, model, images):
    """Outputs of a written file: for each number of images a list of arrays."""
    counts = _counts(images)
    job = {
        "name": "outputs",
        "path": str(path.resolve()),
        "names": names_in(name, model),
        "counts": counts,
    }
    try:
        results = in_fresh_process(
            FORMATS[name].runtime, job, images, keras.backend.backend()
        )
    except RuntimeFailed as error:
        hint = "Its runtime may lack an operation of the model."
        if not FORMATS[name].from_saved_model:
            hint = "Custom layers need their code there." + advice(
                " `fold=True` removes those of resprune_tf."
            )
        raise ExportError(
            f"The '{name}' file does not run in a new Python process without "
            f"resprune_tf. {hint} Error of the process:\n{error}"
        ) from error
    return [
        [results[f"{batch}_{index}"] for index in range(len(model.outputs))]
        for batch in range(len(counts))
    ]


def _largest_difference(name, outputs, expected, tolerance):
    """The largest absolute difference; raises an ExportError above the tolerance."""
    largest = 0.0
    for count, batch in zip(_counts(expected), outputs, strict=True):
        for output, reference in zip(batch, expected, strict=True):
            reference = reference[:count]
            if output.shape != reference.shape:
                raise ExportError(
                    f"The '{name}' file does not match the model: its outputs for "
                    f"{count} images have the shape {output.shape} instead of "
                    f"{reference.shape}. Nothing was written."
                )
            # Each output has its own scale, because large ones would hide small ones.
            scale = max(1.0, float(np.abs(reference).max()))
            difference = np.abs(output - reference).max()
            # This form of the condition also rejects NaN.
            if not difference <= tolerance * scale:
                hint = ""
                if FORMATS[name].calibrated:
                    option = advice("`tolerance`", "--tolerance")
                    hint = (
                        " Are the calibration images scaled as in training? If so, "
                        f"accept a larger difference with {option}, or leave "
                        f"'{name}' out to write the other formats."
                    )
                raise ExportError(
                    f"The '{name}' file does not match the model: its outputs for "
                    f"{count} images differ by {difference:.2g}, more than "
                    f"tolerance={tolerance:g} times {scale:.3g} (the largest output, "
                    f"or 1). Nothing was written.{hint}"
                )
            largest = max(largest, float(difference))
    return largest


def _agreement(outputs, expected):
    """The fraction of images with the same predicted class."""
    return float(np.mean(outputs.argmax(-1) == expected.argmax(-1)))


def _move(source, target, staging):
    """Renames `source` to `target`; an old directory is deleted with `staging`."""
    if target.is_dir():  # a directory cannot be replaced by renaming
        target.rename(staging / f"old-{target.name}")
    source.replace(target)
