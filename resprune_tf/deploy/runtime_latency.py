"""Latency of written models: on a runtime here, or by a function on another device."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence

import keras

from resprune_tf import graph
from resprune_tf.deploy.formats import check_formats, write_folded
from resprune_tf.deploy.fresh_process import in_fresh_process
from resprune_tf.deploy.latency import Latency, listed
from resprune_tf.deploy.registry import (
    FORMATS,
    RUNTIME_FORMATS,
    check_latency_fn,
    check_runtime,
    name_of,
)
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
    format = RUNTIME_FORMATS[runtime]
    with _as_files(models, format, "runtime_latencies") as paths:
        say(
            f"Timing on {runtime}, batch size {batch_size}: "
            f"{counted(len(models), 'model')} in turns ..."
        )
        job = {
            "name": "times",
            "paths": list(map(str, paths)),
            "batch_size": batch_size,
            "runs": runs,
            "warmup": warmup,
            "threads": threads,
        }
        results = in_fresh_process(FORMATS[format].runtime, job)
    load = float(results["load"])
    return _latencies(
        *(results["times"].T, models, runtime),
        batch_size=batch_size,
        device="cpu",
        load=None if math.isnan(load) else load,
    )


def device_latencies(
    models: Sequence[keras.Model],
    runtime: str,
    latency_fn: Callable[[str], float],
    runs: int = 3,
) -> tuple[Latency, ...]:
    """Times models in turns by a function of the caller, such as on a phone or board.

    All models are folded (see `fold`) and written first. Then each run calls
    `latency_fn` once with the file of every model.

    Args:
        models: list of one or more functional `keras.Model`s, or paths of files that
            `export` wrote for this runtime.
        runtime: a runtime of `runtime_latencies`, which decides the format of the
            files.
        latency_fn: function of the absolute path of a file (for `"tensorflow"`, of the
            folder of a SavedModel) that returns the time of one call of that model in
            milliseconds. It decides on warm-up, repeated calls, batch size and threads.
            Files that were written here are deleted afterwards.
        runs: int, calls of `latency_fn` per model.

    Returns:
        tuple of `Latency`, one per model. `small.ratios(full)` compares two of them.

    Raises:
        ValueError: if `latency_fn` does not return a positive number, and as for
            `runtime_latencies`.
        TypeError: if a model is not functional, if `models` is a single model, or if
            `latency_fn` cannot be called.
        ImportError, FileNotFoundError, ExportError: as for `runtime_latencies`.

    >>> full, small = rp.device_latencies([model, smaller], "litert", time_on_phone)
    """
    check_counts(runs=runs)
    check_latency_fn(latency_fn)
    models, runtime = listed(models), check_runtime(runtime)
    format, device = RUNTIME_FORMATS[runtime], name_of(latency_fn)
    times = [[] for _ in models]
    with _as_files(models, format, "device_latencies") as paths:
        turns = [(i, path) for _ in range(runs) for i, path in enumerate(paths)]
        for i, path in tracked(turns, f"Timing by {device}"):
            times[i].append(_positive(latency_fn(str(path)), device))
    return _latencies(times, models, runtime, batch_size=None, device=device)


def _latencies(times, models, runtime, **fields):
    """The `Latency` of each model, from the times of its calls."""
    written = FORMATS[RUNTIME_FORMATS[runtime]].precision
    return tuple(
        Latency.of(
            own,
            backward=False,
            precision="as written" if _is_path(model) else written,
            backend=keras.backend.backend(),
            runtime=runtime,
            **fields,
        )
        for own, model in zip(times, models, strict=True)
    )


def _positive(time, device):
    """The result of a `latency_fn` as a float; raises a ValueError otherwise."""
    try:
        value = float(time)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(
            "`latency_fn` must return the time of one call in milliseconds, a positive "
            f"number. Received from {device}: {time!r}."
        )
    return value


def _is_path(model):
    """Whether a model is given as the path of its file."""
    return isinstance(model, str | os.PathLike)


@contextlib.contextmanager
def _as_files(models, format, purpose):
    """Context with the absolute paths of models, written in a format if necessary.

    Args:
        models: list of functional `keras.Model`s or paths.
        format: name of a format of `export`.
        purpose: name of the caller for error messages.

    Raises:
        TypeError, ImportError, FileNotFoundError, ValueError, ExportError: as
            `runtime_latencies` does.
    """
    for model in models:
        if not _is_path(model):
            graph.as_functional(model, purpose)
        elif not pathlib.Path(model).exists():
            raise FileNotFoundError(
                f"'{model}' does not exist. Pass a path of a file that `export` wrote."
            )
    remaining = [model for model in models if not _is_path(model)]
    if remaining:
        check_formats(format)
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        written = []
        for model in tracked(remaining, f"Writing models as {format}"):
            place = pathlib.Path(folder) / str(len(written))
            place.mkdir()
            written.append(write_folded(format, model, place))
        each = iter(written)
        yield [
            pathlib.Path(model if _is_path(model) else next(each)).absolute()
            for model in models
        ]
