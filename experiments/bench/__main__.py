"""Measures how fast the paper's ResNet-56 trains and runs here, beside its peers.

    python -m experiments.bench

Every variant has a process of its own, which stays; they are measured in turns. Writes
records/bench/MACHINE.json after every round; `make reproduce-bench` makes a page of
it. A variant that is not installed, or fails, is named in the record and left out.
"""

import os
import pathlib
import shlex
import shutil
import sys
import time

from absl import app, flags

from experiments.bench import variants
from experiments.bench.page import section
from experiments.bench.rounds import Benchmark
from experiments.pages.results import file_name
from experiments.running.quiet import quiet_start

_VARIANTS = flags.DEFINE_list("variants", list(variants.VARIANTS), "Which to measure.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds; each measures all variants.", 1)
_STEPS = flags.DEFINE_integer(
    "steps",
    None,
    "Steps a measurement. Default: 10, or 100 where there is an NVIDIA GPU.",
    1,
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images a step.", 1)
_DEPTH = flags.DEFINE_integer(
    "depth", 56, "Layers of the network: 9n+2 (bottleneck) or 6n+2 (basic).", 8
)
_UNIT_KIND = flags.DEFINE_enum(
    "unit_kind", "bottleneck", ["bottleneck", "basic"], "Kind of residual unit."
)
_ACTIVATION = flags.DEFINE_enum(
    "activation", "pre", ["pre", "post"], "Pre- or post-activation units."
)
_WIDTH = flags.DEFINE_integer("width", 16, "Its inner channels in the first stage.", 1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Pixels of an image's side.", 4)
_OUT = flags.DEFINE_string(
    "out", None, "Record to write. Default: records/bench/MACHINE.json."
)
_TIME_BUDGET = flags.DEFINE_float(
    "time_budget_minutes",
    None,
    "Begin no round that would end later. Default: none.",
    lower_bound=0,
)
_TIMEOUT = flags.DEFINE_float(
    "worker_timeout_minutes", 20, "A worker that answers later has failed."
)
_BEFORE = flags.DEFINE_string(
    "before",
    None,
    "Another checkout of this package, whose variants are measured as well: what a "
    "change has done, side by side.",
)
_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python",
    os.environ.get("BENCH_TORCH_PYTHON", variants.TORCH_PYTHON),
    "Interpreter that has PyTorch; also the variable BENCH_TORCH_PYTHON.",
)
_NETS = {("bottleneck", "pre"): "", ("basic", "post"): "-basic-post"}
# Of the call, not of what is measured.
_NOT_RECORDED = ("out", "torch_python", "before")


def main(argv):
    if len(argv) > 1:
        sys.exit(f"error: unexpected argument {argv[1]!r}; see --helpshort")
    unknown = set(_VARIANTS.value) - set(variants.VARIANTS)
    if unknown or not _VARIANTS.value:
        sys.exit(
            f"error: no variant {', '.join(sorted(unknown)) or 'given'}; there are "
            + ", ".join(variants.VARIANTS)
        )
    if (_UNIT_KIND.value, _ACTIVATION.value) not in _NETS:
        sys.exit(
            "error: there are peers of bottleneck units with --activation=pre and of "
            f"basic units with --activation=post. Received: {_UNIT_KIND.value}, "
            f"{_ACTIVATION.value}."
        )
    layers = {"bottleneck": 9, "basic": 6}[_UNIT_KIND.value]
    if (_DEPTH.value - 2) % layers:
        sys.exit(
            f"error: --depth must be {layers}n+2 for {_UNIT_KIND.value} units. "
            f"Received: {_DEPTH.value}."
        )
    begun = time.monotonic()
    budget = _TIME_BUDGET.value
    with quiet_start():
        from resprune_tf.runs.environment import environment
        from resprune_tf.system.whole_files import write_json

    def keep():
        benchmark.record["minutes"] = round((time.monotonic() - begun) / 60, 1)
        write_json(path, benchmark.record)

    print("Starting a worker for each variant; each compiles before it is measured.")
    benchmark = Benchmark(
        variants.chosen(_VARIANTS.value, _BEFORE.value),
        settings(),
        variants.ROOT / _TORCH_PYTHON.value,
        60 * _TIMEOUT.value,
        float("inf") if budget is None else begun + 60 * budget,
    )
    try:
        benchmark.start()
        benchmark.record |= description(benchmark.record, environment())
        path = record_path(benchmark.record)
        for _ in benchmark.rounds(_REPEATS.value):
            keep()
    except KeyboardInterrupt:
        print("\nStopped.")
        if not benchmark.record["rounds"]:
            sys.exit(130)
    finally:
        benchmark.close()
    done = len(benchmark.record["rounds"])
    if not done:
        sys.exit("error: nothing was measured; see the reasons above")
    keep()  # once more: a variant may have failed
    print(f"\n{section(benchmark.record)}")
    less = f" ({done} of {_REPEATS.value} rounds)" if done < _REPEATS.value else ""
    print(f"{os.path.relpath(path)}: written{less}")
    print("`make reproduce-bench` makes the page of all records")


def settings():
    """What all workers are told."""
    gpu = shutil.which("nvidia-smi") is not None
    return {
        "depth": _DEPTH.value,
        "unit_kind": _UNIT_KIND.value,
        "activation": _ACTIVATION.value,
        "width": _WIDTH.value,
        "image_size": _IMAGE_SIZE.value,
        "batch_size": _BATCH_SIZE.value,
        "steps": _STEPS.value or (100 if gpu else 10),
        "repeats": _REPEATS.value,
    }


def description(record, environment):
    """Machine and command, for the record."""
    keys = flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
    given = [f for f in keys if f.present and f.name not in _NOT_RECORDED]
    devices = {v["device"] for v in record["variants"].values() if "device" in v}
    return {
        "environment": environment,
        "devices": sorted(devices),
        "command": shlex.join(
            ["python", "-m", "experiments.bench", *(f.serialize() for f in given)]
        ),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def record_path(record):
    """Where the record goes; its folder exists."""
    told = record["settings"]
    name = machine(record) + _NETS[told["unit_kind"], told["activation"]]
    path = variants.ROOT / "records" / "bench" / f"{name}.json"
    path = pathlib.Path(_OUT.value) if _OUT.value else path
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def machine(record):
    """A file name for the machine, such as `amd-epyc-7b13-2-cores`."""
    facts = record["environment"]
    accelerators = [device for device in record["devices"] if device != "cpu"]
    return file_name(facts["cpu"], facts["cores"], "cores", *accelerators)


if __name__ == "__main__":
    app.run(main)
