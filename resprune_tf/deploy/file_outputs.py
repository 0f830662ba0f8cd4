"""Runs written files on their runtime and returns their inputs and outputs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from resprune_tf.deploy.fresh_process import in_fresh_process
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS, check_runtime
from resprune_tf.deploy.signature import names_in


def file_outputs(
    path: str | os.PathLike,
    runtime: str,
    inputs: Sequence[np.ndarray],
    model: keras.Model | None = None,
    batch_size: int = 32,
) -> list[np.ndarray]:
    """Returns the outputs that a runtime computes from a file, such as of `export`.

    The file runs in a new process that has only its runtime. With these outputs the
    deployed file can be evaluated instead of the Keras model.

    Args:
        path: path of the file or folder.
        runtime: one of the runtimes of `runtime_latencies`.
        inputs: arrays `(examples, ...)`, one per input. A LiteRT file whose inputs or
            outputs are quantized receives and returns the values that its integers
            stand for.
        model: the Keras model that was written; `inputs` are in the order of its
            inputs. By default they are in the order of the file.
        batch_size: examples per call, unless the file has a fixed batch size.

    Returns:
        list of float32 arrays `(examples, ...)`, in the order of Keras.

    Raises:
        ValueError: if there is no such runtime.
        RuntimeFailed: if the runtime cannot load or run the file.

    >>> (logits,) = rp.file_outputs("out/model_int8.tflite", "litert", [images])
    >>> accuracy = np.mean(logits.argmax(-1) == labels)
    """
    name = RUNTIME_FORMATS[check_runtime(runtime)]
    job = {
        "name": "predictions",
        "path": str(pathlib.Path(path).resolve()),
        "names": None if model is None else names_in(name, model),
        "batch_size": batch_size,
    }
    results = in_fresh_process(FORMATS[name].runtime, job, list(inputs))
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
