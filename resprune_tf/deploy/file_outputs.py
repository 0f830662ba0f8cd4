"""What a written model computes: the outputs of the file itself, on its runtime."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from resprune_tf.deploy.fresh_process import in_fresh_process
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS, known_as
from resprune_tf.deploy.signature import names_in


def file_outputs(
    path: str | os.PathLike,
    runtime: str,
    inputs: Sequence[np.ndarray],
    model: keras.Model | None = None,
    batch_size: int = 32,
) -> list[np.ndarray]:
    """The outputs of a file that `export` wrote, computed by its runtime alone.

    Accuracy measured on them is that of what is deployed, not of the Keras model.

    Args:
        path: the file or folder.
        runtime: one of those of `runtime_latencies`.
        inputs: arrays `(examples, ...)`, one for each input.
        model: the Keras model that was written, which states the order of several
            inputs. By default inputs are in the file's own order.
        batch_size: examples per call, unless the file takes a fixed number.

    Returns:
        list of float32 arrays `(examples, ...)`, in the order of Keras.

    Raises:
        RuntimeFailed: if the runtime does not load or run the file.
    """
    name = RUNTIME_FORMATS[known_as(runtime)]
    job = {
        "name": "predictions",
        "path": str(pathlib.Path(path).resolve()),
        "names": None if model is None else names_in(name, model),
        "batch_size": batch_size,
    }
    made = in_fresh_process(FORMATS[name].runtime, job, list(inputs))
    return [made[str(index)] for index in range(len(made))]


def file_inputs(path: str | os.PathLike, runtime: str) -> list[tuple]:
    """What a written file takes: `(name, shape, dtype)` for each input, None if open.

    Args:
        path: the file or folder.
        runtime: one of those of `runtime_latencies`.

    Raises:
        RuntimeFailed: if the runtime does not load the file.
    """
    kind = FORMATS[RUNTIME_FORMATS[known_as(runtime)]].runtime
    job = {"name": "inputs", "path": str(pathlib.Path(path).resolve())}
    made = in_fresh_process(kind, job)
    shapes = [
        tuple(None if n < 0 else int(n) for n in made[f"shape_{index}"])
        for index in range(len(made["names"]))
    ]
    return list(
        zip(map(str, made["names"]), shapes, map(str, made["dtypes"]), strict=True)
    )
