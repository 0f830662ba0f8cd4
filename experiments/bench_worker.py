"""A worker of the benchmark: one variant, measured whenever its parent asks.

    python -m experiments.bench_worker '{"path": "torch", ...}'

Answers in lines of JSON. Here is only the standard library: the framework is imported
once its absence can be answered, and PyTorch lives in an environment without Keras.
"""

import importlib
import json
import os
import pathlib
import sys
import time

_MODULES = {"ours": "bench_keras", "keras": "bench_keras", "torch": "bench_torch"}


def serve(start):
    """Builds, warms up, then measures what is asked for until the input ends.

    Args:
        start: function from the settings to what the worker tells of itself and a
            function from the name of a measure to a dict.
    """
    # Libraries print as they like; the pipe is for answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(kind, value):
        print(json.dumps([kind, value]), file=answers, flush=True)

    try:
        facts, measure = start(json.loads(sys.argv[1]))
        answer("ready", facts)
        for line in sys.stdin:
            answer("measured", measure(json.loads(line)))
    except ModuleNotFoundError as error:
        answer("missing", error.name)
    except Exception as error:
        answer("failed", _one_line(error))


def timed(run, images):
    """Wall-clock and processor time of a call that handles so many images."""
    cpu, start = time.process_time(), time.perf_counter()
    run()
    return {
        "images": images,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


def warm_up(measure, names):
    """Measures everything once; returns the seconds it took."""
    start = time.perf_counter()
    for name in names:
        measure(name)
    return time.perf_counter() - start


def usable_cores():
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _one_line(error):
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else text[:297] + "..."
    # An absolute path would only tell of whose machine it was.
    text = text.replace(str(pathlib.Path.home()), "~")
    return f"{type(error).__name__}: {text}"


def start(settings):
    """Starts the variant that the settings tell of."""
    module = importlib.import_module(f"experiments.{_MODULES[settings['path']]}")
    return module.start(settings)


if __name__ == "__main__":
    serve(start)
