"""One measurement of the benchmark: one variant in its own process.

    python -m experiments.bench.worker '{"path": "torch", ...}'

The last line of the output is JSON: facts about the variant and its measurements. This
module imports only the standard library, because PyTorch is installed in an environment
without Keras.
"""

import importlib
import json
import os
import resource
import sys
import time

_MODULES = {
    "ours": "keras_variants",
    "keras": "keras_variants",
    "torch": "torch_variant",
}


def time_run(run, images):
    """Wall-clock and processor time of a call that processes `images` images.

    `elsewhere` is the background load: the share of the processors that other processes
    used meanwhile, or None if the system does not report it.
    """
    busy, cpu, start = _busy_seconds(), time.process_time(), time.perf_counter()
    run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    elsewhere = None
    if busy is not None:
        others = _busy_seconds() - busy - cpu
        # The system counts ticks, so short calls can give values outside 0 to 1.
        elsewhere = min(max(0.0, others / (seconds * os.cpu_count())), 1.0)
    return {
        "images": images,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "elsewhere": elsewhere,
    }


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


def _peak_mb():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, but bytes on macOS.
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main(settings):
    """Builds and measures the variant that the settings describe."""
    module = importlib.import_module(f"experiments.bench.{_MODULES[settings['path']]}")
    variant = module.make(settings)
    measured, facts = {}, variant.facts()
    for name in settings["measures"]:
        run = getattr(variant, name)
        run()  # compiles
        measured[name] = time_run(run, settings["steps"] * settings["batch_size"])
        if name == "train":
            facts["train_memory_mb"] = _peak_mb()
    print(json.dumps([facts, measured]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
