"""How long a model takes where it is deployed: LiteRT, ONNX Runtime, TensorFlow."""

from __future__ import annotations

import math
import os
import pathlib
import tempfile
from collections.abc import Sequence

import keras

from resprune_tf import graph
from resprune_tf.deploy.formats import check_formats, write_folded
from resprune_tf.deploy.fresh_process import in_fresh_process
from resprune_tf.deploy.latency import Latency, check_counts
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS, known_as
from resprune_tf.system.progress import say, tracked
from resprune_tf.system.wording import counted


def runtime_latencies(
    models: Sequence[keras.Model],
    runtime: str,
    batch_size: int = 1,
    runs: int = 50,
    warmup: int = 5,
    threads: int = 1,
) -> list[Latency]:
    """Times models on a runtime of this machine's processor, in turns.

    A fresh process loads all of them, calls each to warm up, and then in every turn
    calls each once with the same random inputs; the clock covers the way in and out of
    the runtime. A Keras model is folded (see `fold`) and written first: folding alone
    makes a net faster on some runtimes, so only folded is compared with folded.

    Args:
        models: functional `keras.Model`s, or paths of what `export` wrote for this
            runtime, at least one.
        runtime: `"tensorflow"` (of SavedModels), `"litert"` or `"onnxruntime"`, in
            float32; `"litert_float16"` or `"litert_int8"` (also `"tflite"`, `"int8"`),
            calibrated on noise, which does not change how much there is to compute. Of
            files it says what runs them.
        batch_size: images a call, >= 1.
        runs: timed calls of each, >= 1.
        warmup: calls of each before them, >= 1.
        threads: processor threads that the runtime may use, >= 1.

    Returns:
        tuple of `Latency`, one a model. `small.ratios(full)` compares two of them.

    Raises:
        ValueError: if the runtime is unknown, a count is too small, there is no model,
            or the Keras backend in use cannot write a model for the runtime.
        TypeError: if a model has no graph to read.
        ImportError: if a package is missing; it says what to install.
        FileNotFoundError: if there is nothing at a path.
        ExportError: if the converter of the runtime refuses a model.
        RuntimeFailed: if the runtime does not load or run one, or an input has an open
            shape.

    >>> full, small = runtime_latencies([model, shorter], "litert")
    >>> np.median(small.ratios(full))
    """
    check_counts(batch_size=batch_size, runs=runs, warmup=warmup, threads=threads)
    models, runtime = list(models), known_as(runtime)
    if runtime not in RUNTIME_FORMATS:
        raise ValueError(
            f"`runtime` must be one of {', '.join(RUNTIME_FORMATS)}. "
            f"Received: {runtime!r}."
        )
    if not models:
        raise ValueError("`models` must hold at least one model. Received: none.")
    files = [isinstance(model, str | os.PathLike) for model in models]
    for model, is_file in zip(models, files, strict=True):
        if not is_file:
            graph.as_functional(model, "runtime_latencies")
        elif not pathlib.Path(model).exists():
            raise FileNotFoundError(f"There is no model to time at '{model}'.")
    format = RUNTIME_FORMATS[runtime]
    if not all(files):
        check_formats(format)
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        paths = list(map(pathlib.Path, models)) if all(files) else []
        left = list(zip(models, files, strict=True))[len(paths) :]
        for model, is_file in tracked(left, f"Writing models for {runtime}"):
            place = pathlib.Path(folder) / str(len(paths))
            paths.append(
                pathlib.Path(model) if is_file else _written(format, model, place)
            )
        say(
            f"Timing on {runtime}, batch size {batch_size}: "
            f"{counted(len(models), 'model')} in turns ..."
        )
        job = {
            "name": "times",
            "paths": [str(path.resolve()) for path in paths],
            "batch_size": batch_size,
            "runs": runs,
            "warmup": warmup,
            "threads": threads,
        }
        made = in_fresh_process(FORMATS[format].runtime, job)
    load = float(made.get("load", math.nan))
    return tuple(
        Latency.of(
            own,
            batch_size=batch_size,
            backward=False,
            precision="as written" if is_file else FORMATS[format].precision,
            device="cpu",
            backend=keras.backend.backend(),
            runtime=runtime,
            load=None if math.isnan(load) else load,
        )
        for own, is_file in zip(made["times"].T, files, strict=True)
    )


def _written(format, model, folder):
    folder.mkdir()
    return write_folded(format, model, folder)
