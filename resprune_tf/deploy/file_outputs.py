"""Runs written files on their runtime and returns their inputs and outputs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from resprune_tf.deploy.fresh_process import in_fresh_process
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS, check_runtime
from resprune_tf.system.counts import check_counts


def file_outputs(
    path: str | os.PathLike,
    runtime: str,
    inputs: np.ndarray | Mapping[str, np.ndarray],
    batch_size: int = 32,
) -> list[np.ndarray]:
    """Returns the outputs that a runtime computes from a file, such as of `export`.

    The file runs in a new process that has only its runtime. With these outputs the
    deployed file can be evaluated instead of the Keras model.

    Args:
        path: path of the file or folder.
        runtime: one of the runtimes of `runtime_latencies`.
        inputs: array `(examples, ...)`; for a file with several inputs a dict from
            their names to arrays. A LiteRT file whose inputs or outputs are quantized
            receives and returns the values that its integers stand for.
        batch_size: examples per call, unless the file has a fixed batch size.

    Returns:
        list of float32 arrays `(examples, ...)`, in the order of Keras.

    Raises:
        ValueError: if there is no such runtime, `batch_size` < 1, there is no example,
            or the inputs differ from those of the file in names, shape or length.
        TypeError: if `inputs` is neither an array nor a dict of arrays.
        FileNotFoundError: if there is no such file.
        RuntimeFailed: if the runtime cannot load or run the file.

    >>> (logits,) = rp.file_outputs("out/model_int8.tflite", "litert", images)
    >>> accuracy = np.mean(logits.argmax(-1) == labels)
    """
    check_counts(batch_size=batch_size)
    runtime = check_runtime(runtime)
    if not pathlib.Path(path).exists():
        raise FileNotFoundError(
            f"'{path}' does not exist. Pass a path of a file that `export` wrote."
        )
    shapes = {name: shape for name, shape, _ in file_inputs(path, runtime)}
    arrays = _by_name(inputs, shapes, path)
    for name, array in arrays.items():
        _check_shape(name, array.shape, shapes[name])
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name}: {len(x)}" for name, x in arrays.items())
        raise ValueError(f"The inputs differ in their number of examples: {lengths}.")
    return run_file(path, runtime, list(arrays.values()), list(arrays), batch_size)


def _by_name(inputs, shapes, path):
    """The inputs as a dict from the names of the file to arrays."""
    names = ", ".join(shapes)
    if not isinstance(inputs, Mapping):
        if isinstance(inputs, (list, tuple)) or not hasattr(inputs, "shape"):
            raise TypeError(
                "`inputs` must be an array, or a dict from the names of the inputs to "
                f"arrays: '{path}' has {names}. Received: {type(inputs).__name__}."
            )
        if len(shapes) > 1:
            raise ValueError(
                f"'{path}' has the inputs {names}. Pass a dict from these names to "
                "arrays. Received: one array."
            )
        inputs = dict.fromkeys(shapes, inputs)
    if set(inputs) != set(shapes):
        raise ValueError(
            f"'{path}' has the inputs {names}. Received: {', '.join(inputs)}."
        )
    return {name: np.asarray(inputs[name]) for name in shapes}


def _check_shape(name, given, expected):
    """Checks the shape of an input. The file may fix the size of its batches."""
    fits = len(given) == len(expected) and all(
        size in (None, own) for size, own in zip(expected[1:], given[1:], strict=True)
    )
    if not fits or not given or not given[0]:
        sizes = ", ".join("any" if n is None else str(n) for n in expected[1:])
        raise ValueError(
            f"The input '{name}' must have the shape (examples{', ' * bool(sizes)}"
            f"{sizes}), with at least one example. Received: {given}."
        )


def run_file(path, runtime, inputs, names=None, batch_size=32):
    """As `file_outputs`, without its checks.

    Args:
        path, batch_size: as for `file_outputs`.
        runtime: name of a runtime.
        inputs: list of arrays `(examples, ...)`, one per input.
        names: names of the inputs in the file, in the order of `inputs`. The name of a
            single input is not needed, because some writers change it.
    """
    job = {
        "name": "predictions",
        "path": str(pathlib.Path(path).resolve()),
        "names": names,
        "batch_size": batch_size,
    }
    format = FORMATS[RUNTIME_FORMATS[runtime]]
    results = in_fresh_process(format.runtime, job, list(inputs))
    return [results[str(index)] for index in range(len(results))]


def file_inputs(path: str | os.PathLike, runtime: str) -> list[tuple]:
    """Returns the inputs that a written file expects.

    Args:
        path: path of the file or folder.
        runtime: one of the runtimes of `runtime_latencies`.

    Returns:
        list of `(name, shape, dtype)`, one per input: a str, a tuple in which sizes
        that are not fixed are None, and the name of a NumPy dtype.

    Raises:
        ValueError: if there is no such runtime.
        RuntimeFailed: if the runtime cannot load the file.
    """
    kind = FORMATS[RUNTIME_FORMATS[check_runtime(runtime)]].runtime
    job = {"name": "inputs", "path": str(pathlib.Path(path).resolve())}
    found = in_fresh_process(kind, job)
    shapes = [
        tuple(None if n < 0 else int(n) for n in found[f"shape_{index}"])
        for index in range(len(found["names"]))
    ]
    return list(
        zip(map(str, found["names"]), shapes, map(str, found["dtypes"]), strict=True)
    )
