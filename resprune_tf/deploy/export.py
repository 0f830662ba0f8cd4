"""Writing a model for use without this package, and proving that it works there."""

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
    size_of,
    write,
)
from resprune_tf.deploy.fresh_process import RuntimeFailed, in_fresh_process
from resprune_tf.deploy.registry import FORMATS, known_as
from resprune_tf.deploy.signature import check_outputs, names_in
from resprune_tf.graph.outputs import decides
from resprune_tf.system.disk import staging_folder, writing
from resprune_tf.system.progress import tracked


@dataclasses.dataclass(frozen=True)
class Exported:
    """One artefact that was written and checked.

    Attributes:
        format: such as `"saved_model"`; see `export`.
        path: the file or directory.
        bytes: its size, files of a directory added up.
        max_abs_difference: largest difference to an output of the model given.
        agreement: share of the images for which the largest output is that of the
            model given; None unless the model's one output is `(batch, classes)`, and
            if it is compiled with a loss for something else than classes.
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
) -> Exported:
    """Writes a model in one or more formats, each checked before it is put in place.

    The model is folded (see `fold`), written to a temporary place inside `directory`,
    loaded by a fresh Python process that cannot import this package, and run there on
    1, 3 and all of `images` on the CPU. Only when every format agrees with `model`
    itself are the files moved to `directory`, over older ones; else nothing changes.

    | format | what is written | runs with | tolerance |
    |---|---|---|---|
    | `"saved_model"` | `saved_model/` | TensorFlow alone | 1e-5 |
    | `"keras"` | `model.keras` | Keras alone, any backend | 1e-5 |
    | `"litert"` | `model.tflite` | LiteRT alone | 1e-5 |
    | `"litert_float16"` | `model_float16.tflite` | LiteRT alone | 1e-2 |
    | `"litert_int8"` | `model_int8.tflite` | LiteRT alone | 0.2 |
    | `"onnx"` | `model.onnx` | ONNX Runtime alone | 1e-5 |

    All of them take batches of any size, of the model's own input dtype. Float16 is
    the precision of the weights; int8 that of weights and activations, but for what
    LiteRT has no int8 kernel. A model of mixed or half precision is written, and
    compared, as one of the same weights that computes in float32.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.
        directory: where to write; made if missing.
        formats: one name or several of the table; `"tflite"` and `"int8"` are other
            names of `"litert"` and `"litert_int8"`.
        images: at least 4 inputs to compare on, nested as the model takes them: for
            one input an array `(count, *input_shape)`. Defaults to some of
            `calibration`, else to 8 of standard normal noise; real ones prove more,
            and only they tell an agreement.
        tolerance: largest difference allowed, relative to the largest output or 1: one
            number for all formats, or a dict by format that overrides the table.
        fold: whether to fold the model first. Unfolded, ω is a custom layer, and the
            `"keras"` format fails its check.
        calibration: real images for `"litert_int8"`, prepared as for the model: an
            array, or an iterable of batches (a tuple is inputs and labels), such as a
            `tf.data.Dataset`. A hundred do; at most 500 are looked at. Defaults to
            `images`.

    Returns:
        tuple of `Exported`, in the order of `formats`.

    Raises:
        ValueError: if a format is unknown or none is given, the Keras backend cannot
            write it, it cannot hold outputs nested as the model's, `directory` cannot
            be written or TensorFlow takes its name for a pattern, `images` are too few
            or do not fit, or int8 has no real images.
        TypeError: if `model` has no graph to read.
        ImportError: if a package is missing; it says what to install.
        DiskFullError: if there is no space left.
        ExportError: if a format's converter refuses the model, an artefact does not
            load, or its outputs differ.
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
                f"'{calibrated[0]}' measures the ranges of activations on real images, "
                "and noise has others: give `calibration`, or `images`."
            )
    if calibration is not None:
        calibration = images_to_calibrate(model, calibration)
    images = images_to_compare(model, images, calibration)
    plain = fold_model(model) if fold else model
    expected = _outputs(model, images)
    directory = pathlib.Path(directory)
    with writing(directory), contextlib.ExitStack() as stack:
        directory.mkdir(parents=True, exist_ok=True)
        staging = stack.enter_context(staging_folder(directory, "export"))
        done = []
        for name in tracked(
            formats,
            lambda name: f"Writing and checking {directory / FORMATS[name].file}",
        ):
            path = write(name, plain, staging, calibration)
            found = _found(name, path, plain, images)
            difference = _difference(name, found, expected, tolerances[name])
            done.append(
                Exported(
                    format=name,
                    path=directory / path.name,
                    bytes=size_of(path),
                    max_abs_difference=difference,
                    agreement=_agreement(*found[-1], *expected) if classifies else None,
                )
            )
        for exported in done:
            _move(staging / exported.path.name, exported.path, staging)
    return tuple(done)


def _tolerances(tolerance):
    defaults = {name: format.tolerance for name, format in FORMATS.items()}
    if tolerance is None:
        return defaults
    if not isinstance(tolerance, dict):
        return dict.fromkeys(defaults, tolerance)
    tolerance = {known_as(name): value for name, value in tolerance.items()}
    if not set(tolerance) <= set(defaults):
        raise ValueError(
            f"`tolerance` may name the formats {', '.join(FORMATS)}. "
            f"Received: {tolerance}."
        )
    return {**defaults, **tolerance}


def _outputs(model, images):
    """Outputs of a Keras model as a list of float32 arrays."""
    # On the CPU, as the check is: accelerators round convolutions differently.
    with keras.device("cpu:0"):
        inputs = keras.tree.pack_sequence_as(model._inputs_struct, images)
        outputs = keras.tree.flatten(model(inputs, training=False))
    return [keras.ops.convert_to_numpy(x).astype("float32") for x in outputs]


def _counts(arrays):
    """Sizes of the batches that are tried."""
    return (1, 3, len(arrays[0]))


def _found(name, path, model, images):
    """Outputs of an artefact for each batch that is tried: lists of arrays."""
    counts = _counts(images)
    job = {
        "name": "outputs",
        "path": str(path.resolve()),
        "names": names_in(name, model),
        "counts": counts,
    }
    try:
        made = in_fresh_process(
            FORMATS[name].runtime, job, images, keras.backend.backend()
        )
    except RuntimeFailed as error:
        hint = (
            "Layers that are not Keras's own need their code there; `fold=True` takes "
            "out ours."
            if not FORMATS[name].from_saved_model
            else "Its runtime may lack an operation of the model."
        )
        raise ExportError(
            f"The '{name}' artefact does not run in a fresh Python process without "
            f"resprune_tf. {hint} The process said:\n{error}"
        ) from error
    return [
        [made[f"{batch}_{index}"] for index in range(len(model.outputs))]
        for batch in range(len(counts))
    ]


def _difference(name, found, expected, tolerance):
    """Largest absolute difference between an artefact's outputs and the expected."""
    largest = 0.0
    for count, outputs in zip(_counts(expected), found, strict=True):
        for output, wanted in zip(outputs, expected, strict=True):
            wanted = wanted[:count]
            if output.shape != wanted.shape:
                raise ExportError(
                    f"The '{name}' artefact computes something else: its outputs for "
                    f"{count} images have the shape {output.shape}, the model's "
                    f"{wanted.shape}. Nothing was written."
                )
            # Each output by its own size: prices would hide probabilities.
            scale = max(1.0, float(np.abs(wanted).max()))
            difference = np.abs(output - wanted).max()
            # Written so that NaN is refused, too.
            if not difference <= tolerance * scale:
                raise ExportError(
                    f"The '{name}' artefact computes something else: its outputs "
                    f"for {count} images differ by {difference:.2g} from the "
                    f"model's, more than tolerance={tolerance:g} times {scale:.3g} "
                    "(the largest output, or 1). Nothing was written."
                )
            largest = max(largest, float(difference))
    return largest


def _agreement(found, expected):
    """Share of the images for which a classifier's decision stays."""
    return float(np.mean(found.argmax(-1) == expected.argmax(-1)))


def _move(source, target, staging):
    """Renames `source` to `target`; what was there vanishes with `staging`."""
    if target.is_dir():  # only a file can be renamed over
        target.rename(staging / f"old-{target.name}")
    source.replace(target)
