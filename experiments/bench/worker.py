"""A worker of the benchmark: one variant, measured whenever its parent asks.

    python -m experiments.bench.worker '{"path": "torch", ...}'

Answers in lines of JSON. Here is only the standard library: the framework is imported
once its absence can be answered, and PyTorch lives in an environment without Keras.
"""

import importlib
import json
import os
import pathlib
import resource
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
    """Wall-clock and processor time of a call that handles so many images.

    `elsewhere` is the share of the machine's processors that other processes took
    meanwhile, where the system tells.
    """
    busy, cpu, start = _busy_seconds(), time.process_time(), time.perf_counter()
    system = _system_seconds()
    run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    elsewhere = None
    if busy is not None:
        others = _busy_seconds() - busy - cpu
        # The system counts in ticks: a short call may come out below 0 or above 1.
        elsewhere = min(max(0.0, others / (seconds * os.cpu_count())), 1.0)
    return {
        "images": images,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "system_seconds": _system_seconds() - system,
        "elsewhere": elsewhere,
    }


def _system_seconds():
    """Processor time that this process has spent in the kernel, as in page faults."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


def _busy_seconds():
    """Processor time of all processes since the machine started, or None."""
    try:
        with open("/proc/stat") as stat:
            fields = stat.readline().split()
    except OSError:
        return None
    # user, nice, system, then idle and waiting, then interrupts and stolen time.
    ticks = [int(field) for field in (*fields[1:4], *fields[6:9])]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def warm_up(measure, names):
    """Measures everything once; returns the seconds and the memory that took.

    Training is measured first: `train_memory_mb` is the peak until then.
    """
    start, peaks = time.perf_counter(), []
    for name in names:
        measure(name)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Kilobytes, but bytes on macOS.
        peaks.append(peak / (1e6 if sys.platform == "darwin" else 1e3))
    return {
        "warm_up_seconds": time.perf_counter() - start,
        "train_memory_mb": peaks[0],
        "memory_mb": peaks[-1],
    }


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
