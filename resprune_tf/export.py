"""Writing a model for use without this package, and proving that it works there."""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

import keras
import numpy as np

from resprune_tf.folding import fold as fold_model


class ExportError(RuntimeError):
    """What was written does not run on its own, or computes something else."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """One artefact that was written and checked.

    Attributes:
        format: `"saved_model"` or `"keras"`.
        path: the file or directory.
        bytes: its size, files of a directory added up.
        max_abs_difference: largest difference to an output of the model given.
    """

    format: str
    path: pathlib.Path
    bytes: int
    max_abs_difference: float


def export(
    model,
    directory,
    formats=("saved_model", "keras"),
    images=None,
    tolerance=1e-5,
    fold=True,
):
    """Writes a model in one or more formats, each checked before it is put in place.

    The model is folded (see `fold`), written to a temporary place inside `directory`,
    loaded by a fresh Python process that cannot import this package, and run there on
    1, 3 and all of `images` on the CPU. Only when every format agrees with `model`
    itself are the files moved to `directory/saved_model` and `directory/model.keras`,
    over older ones; else nothing changes.

    Args:
        model: a functional `keras.Model` with one input; it is only read.
        directory: where to write; made if missing.
        formats: among `"saved_model"` (runs with TensorFlow alone) and `"keras"`
            (runs with Keras alone, any backend).
        images: at least 4 inputs to compare on, shape `(count, *input_shape)`. Defaults
            to 8 of standard normal noise; real ones prove more.
        tolerance: largest difference allowed, relative to the largest output or 1.
            Half precision needs more than the default.
        fold: whether to fold the model first. Unfolded, ω is a custom layer, and the
            `"keras"` format fails its check.

    Returns:
        tuple of `Exported`, in the order of `formats`.

    Raises:
        ValueError: if a format is unknown or none is given, `images` are too few or do
            not fit, or the model has several inputs.
        TypeError: if `model` is to be folded and is not functional.
        ImportError: if `"saved_model"` is asked for and TensorFlow is not installed.
        ExportError: if an artefact does not load, or its outputs differ.
    """
    formats = check_formats(formats)
    images = _checked_images(model, images)
    plain = fold_model(model) if fold else model
    # On the CPU, as the check is: accelerators round convolutions differently.
    with keras.device("cpu:0"):
        expected = _arrays(model(images, training=False))
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # On the same file system, so that moving into place is one rename.
    with tempfile.TemporaryDirectory(dir=directory, prefix=".export-") as staging:
        staging = pathlib.Path(staging)
        done = []
        for name in formats:
            path = staging / _FORMATS[name].file
            _FORMATS[name].write(plain, path)
            difference = _difference(name, path, images, expected, tolerance)
            done.append(Exported(name, directory / path.name, _size(path), difference))
        for exported in done:
            _move(staging / exported.path.name, exported.path, staging)
    return tuple(done)


def check_formats(formats):
    """Raises what `export` would raise for `formats`, before any work is done.

    Args:
        formats: one name or several, as for `export`.

    Returns:
        tuple of str: the formats, each once.

    Raises:
        ValueError: if a format is unknown, or there is none.
        ImportError: if `"saved_model"` is among them and TensorFlow is not installed.
    """
    formats = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    if not formats or not set(formats) <= set(_FORMATS):
        raise ValueError(
            f"Supported formats: {', '.join(_FORMATS)}. Received: formats={formats}."
        )
    if "saved_model" in formats and importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "A SavedModel is written by TensorFlow, whichever backend Keras runs on, "
            "and TensorFlow is not installed. `pip install tensorflow`, or export "
            "formats=('keras',)."
        )
    return formats


def _checked_images(model, images):
    if len(model.inputs) != 1:
        raise ValueError(
            "export handles models with one input. "
            f"'{model.name}' has {len(model.inputs)}."
        )
    shape = tuple(model.inputs[0].shape[1:])
    if images is None:
        if None in shape:
            raise ValueError(
                f"The input shape of '{model.name}', {shape}, is not fixed: give "
                "`images` to compare on."
            )
        images = np.random.default_rng(0).standard_normal((8, *shape))
    images = np.asarray(images, model.inputs[0].dtype)
    if len(images) < 4:
        raise ValueError(
            "`images` must be 4 or more, to try batches of 1, 3 and all of them. "
            f"Received: an array of shape {images.shape}."
        )
    return images


def _arrays(outputs):
    return [
        keras.ops.convert_to_numpy(output).astype("float32")
        for output in keras.tree.flatten(outputs)
    ]


# What the fresh process runs. Its arguments: artefact, images, where to put outputs.
_CHECK = """
import sys

if "resprune_tf" in sys.modules:
    sys.exit("resprune_tf was imported before the check began")
sys.modules["resprune_tf"] = None  # importing it fails from here on
import numpy as np

artefact, images, outputs = sys.argv[1:]
images = np.load(images)
{load}
found = {{}}
for batch, part in enumerate((images[:1], images[:3], images)):
    for index, output in enumerate(run(part)):
        found[f"{{batch}}_{{index}}"] = output.astype("float32")
np.savez(outputs, **found)
"""

_LOAD_SAVED_MODEL = """
sys.modules["keras"] = None
import tensorflow as tf

model = tf.saved_model.load(artefact)


def run(x):
    return [y.numpy() for y in tf.nest.flatten(model.serve(tf.constant(x)))]
"""

_LOAD_KERAS = """
import keras

model = keras.saving.load_model(artefact, compile=False, safe_mode=True)


def run(x):
    outputs = keras.tree.flatten(model(x, training=False))
    return [keras.ops.convert_to_numpy(y) for y in outputs]
"""


def _difference(name, path, images, expected, tolerance):
    """Largest absolute difference between an artefact's outputs and the expected."""
    images_file = path.with_name("images.npy").resolve()
    outputs_file = path.with_name("outputs.npz").resolve()
    np.save(images_file, images)
    process = subprocess.run(
        [
            *(sys.executable, "-I", "-c", _CHECK.format(load=_FORMATS[name].load)),
            *map(str, (path.resolve(), images_file, outputs_file)),
        ],
        cwd=path.parent,
        env={
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # The accelerator's memory may be all this process's.
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
    )
    if process.returncode:
        tail = "\n".join(process.stderr.strip().splitlines()[-8:])
        raise ExportError(
            f"The '{name}' artefact does not run in a fresh Python process without "
            "resprune_tf. Layers that are not Keras's own need their code there; "
            f"`fold=True` takes out ours. The process said:\n{tail}"
        )
    largest = 0.0
    scale = max(1.0, *(float(np.abs(output).max()) for output in expected))
    with np.load(outputs_file) as found:
        for batch, count in enumerate((1, 3, len(images))):
            for index, output in enumerate(expected):
                difference = np.abs(found[f"{batch}_{index}"] - output[:count]).max()
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


def _size(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _move(source, target, staging):
    """Renames `source` to `target`; what was there vanishes with `staging`."""
    if target.is_dir():  # only a file can be renamed over
        target.rename(staging / f"old-{target.name}")
    source.replace(target)


def _write_saved_model(model, path):
    options = {}
    if keras.backend.backend() == "jax":
        # Without this it would run on the kind of device it was exported on alone.
        options["jax2tf_kwargs"] = {
            "native_serialization": True,
            "native_serialization_platforms": ("cpu", "cuda"),
        }
    model.export(path, format="tf_saved_model", verbose=False, **options)


def _write_keras(model, path):
    model.save(path)


@dataclasses.dataclass(frozen=True)
class _Format:
    """A file name, how to write it, and Python source that loads it as `run(x)`."""

    file: str
    write: Callable
    load: str


_FORMATS = {
    "saved_model": _Format("saved_model", _write_saved_model, _LOAD_SAVED_MODEL),
    "keras": _Format("model.keras", _write_keras, _LOAD_KERAS),
}
