"""Latency of models on the runtimes LiteRT, ONNX Runtime and TensorFlow."""

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
from resprune_tf.deploy.latency import Latency, listed
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS, check_runtime
from resprune_tf.system.counts import check_counts
from resprune_tf.system.progress import say, tracked
from resprune_tf.system.wording import counted


def runtime_latencies(
    models: Sequence[keras.Model],
    runtime: str,
    batch_size: int = 1,
    runs: int = 50,
    warmup: int = 5,
    threads: int = 1,
) -> tuple[Latency, ...]:
    """Times models in turns on a runtime, on the processor of this machine.

    A new process loads all models and warms them up. Then each run calls every model
    once with the same random inputs. The time includes copying inputs and outputs. A
    Keras model is folded (see `fold`) and written first. Compare folded models only
    with folded models, because folding alone reduces latency on some runtimes.

    Args:
        models: list of one or more functional `keras.Model`s, or paths of files that
            `export` wrote for this runtime.
        runtime: `"tensorflow"` (for SavedModels), `"litert"` or `"onnxruntime"`, in
            float32; `"litert_float16"`; or `"litert_int8"` (alias `"int8"`), which is
            calibrated on noise, because that does not affect latency. Files keep the
            precision in which they were written.
        batch_size: int, images per call.
        runs: int, timed calls of each model.
        warmup: int, calls of each model before them.
        threads: int, processor threads that the runtime may use.

    Returns:
        tuple of `Latency`, one per model. `small.ratios(full)` compares two of them.

    Raises:
        ValueError: if the runtime is unknown, if a count is below 1, if there is no
            model, if the Keras backend in use cannot write a model for the runtime, or
            if int8 is requested for a model that does not accept noise.
        TypeError: if a model is not functional, or if `models` is a single model.
        ImportError: if a package is missing. The message states what to install.
        FileNotFoundError: if a path does not exist.
        ExportError: if the converter of the runtime rejects a model.
        RuntimeFailed: if the runtime cannot load or run a model, or if an input size is
            not fixed.

    >>> full, small = rp.runtime_latencies([model, smaller], "litert")
    >>> np.median(small.ratios(full))
    """
    check_counts(batch_size=batch_size, runs=runs, warmup=warmup, threads=threads)
    models, runtime = listed(models), check_runtime(runtime)
    files = [isinstance(model, str | os.PathLike) for model in models]
    for model, is_file in zip(models, files, strict=True):
        if not is_file:
            graph.as_functional(model, "runtime_latencies")
        elif not pathlib.Path(model).exists():
            raise FileNotFoundError(
                f"'{model}' does not exist. Pass a path of a file that `export` wrote."
            )
    format = RUNTIME_FORMATS[runtime]
    if not all(files):
        check_formats(format)
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        paths = list(map(pathlib.Path, models)) if all(files) else []
        remaining = list(zip(models, files, strict=True))[len(paths) :]
        for model, is_file in tracked(remaining, f"Writing models for {runtime}"):
            if is_file:
                paths.append(pathlib.Path(model))
            else:
                place = pathlib.Path(folder) / str(len(paths))
                place.mkdir()
                paths.append(write_folded(format, model, place))
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
        results = in_fresh_process(FORMATS[format].runtime, job)
    load = float(results["load"])
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
        for own, is_file in zip(results["times"].T, files, strict=True)
    )
