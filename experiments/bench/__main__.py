"""Measures the speed of ResNet-56 with this package, plain Keras and PyTorch.

    python -m experiments.bench

Each round measures all variants one after another, each in a new process that compiles
and warms up before it is timed. After every round the record is written to
records/bench/MACHINE.json; `make reproduce-bench` generates the page of all records. If
a variant fails, the record states the reason and later rounds leave it out.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from experiments.bench.variants import ROOT, TORCH_PYTHON, VARIANTS
from experiments.pages import manifest
from experiments.pages.results import RECORDS, command, file_name, parser_of
from experiments.running.quiet import quiet_start

COMMAND = "python -m experiments.bench"
_TIMEOUT = 20 * 60  # seconds after which a process counts as failed
_LAYERS = {"bottleneck": 9, "basic": 6}  # of one unit in each of three stages


class BenchFailed(Exception):
    """A variant cannot be measured; the text states why."""


def measure(name, settings, torch_python):
    """Measures a variant once, in a new process.

    Args:
        name: name of the variant.
        settings: dict with `depth`, `width`, `image_size`, `batch_size`, `steps`,
            `unit_kind` and `activation`.
        torch_python: path of an interpreter that has PyTorch.

    Returns:
        Two dicts: facts about the variant, and the results of each measure.

    Raises:
        BenchFailed: if the process fails or hangs.
    """
    variant = VARIANTS[name]
    asked = settings | dataclasses.asdict(variant) | {"measures": variant.measures}
    python = torch_python if variant.path == "torch" else sys.executable
    variables = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": variant.backend or "torch",
    }
    if variant.path == "keras":  # as without this package, whose commands set it
        variables.pop("TF_ENABLE_ONEDNN_OPTS", None)
    try:
        done = subprocess.run(
            [python, "-m", "experiments.bench.worker", json.dumps(asked)],
            env=variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except FileNotFoundError:
        raise BenchFailed("its Python is missing; `make bench` installs it") from None
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"no result within {_TIMEOUT} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1][:300]
        # Records do not name the home directory.
        last = last.replace(str(pathlib.Path.home()), "~")
        raise BenchFailed(f"exit status {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_round(record, number, torch_python):
    """Measures all variants that have not failed, and adds a round to the record.

    Args:
        record: dict with `settings` and `variants`, the facts of each by name.
        number: number of the round, from 0, which determines the first variant.
        torch_python: path of an interpreter that has PyTorch.
    """
    variants, found = record["variants"], {}
    names = [n for n, v in variants.items() if v["status"] == "measured"]
    turn = number % len(names)
    for name in names[turn:] + names[:turn]:
        print(f"  {VARIANTS[name].title}: ", end="", flush=True)
        try:
            facts, measured = measure(name, record["settings"], torch_python)
            counts = {
                v.get("parameters", facts["parameters"]) for v in variants.values()
            }
            if counts != {facts["parameters"]}:
                raise BenchFailed(f"another model: {facts['parameters']:,} parameters")
        except BenchFailed as error:
            variants[name] = {"status": f"failed: {error}"}
            print(variants[name]["status"])
            continue
        variants[name] |= facts
        found[name] = measured
        print(
            ", ".join(
                f"{measure} {times['images'] / times['seconds']:,.0f} images/s"
                for measure, times in measured.items()
            )
        )
    record["rounds"].append(found)


def main(argv=None, records=RECORDS):
    parser = _parser()
    given = parser.parse_args(argv)
    for name, value in vars(given).items():
        if isinstance(value, int) and value < 1:
            parser.error(f"--{name} must be >= 1. Received: {value}.")
    names = given.variants.split(",")
    if unknown := set(names) - set(VARIANTS):
        parser.error(
            f"there is no variant {', '.join(sorted(unknown))}. "
            f"Choose from {', '.join(VARIANTS)}."
        )
    layers = _LAYERS[given.unit_kind]
    if (given.depth - 2) % layers or given.depth < 8:
        parser.error(
            f"--depth must be {layers}n+2 for {given.unit_kind} units. "
            f"Received: {given.depth}."
        )
    begun = time.monotonic()
    with quiet_start():
        from resprune_tf.runs.environment import environment

        facts = environment()
    record = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command(parser, given, ("out", "torch_python")),
        "environment": facts,
        "settings": _settings(given),
        "variants": {
            name: {"status": "measured"} for name in VARIANTS if name in names
        },
        "rounds": [],
    }
    for number in range(given.repeats):
        print(f"Round {number + 1} of {given.repeats}")
        measure_round(record, number, ROOT / given.torch_python)
        known = {v["device"] for v in record["variants"].values() if "device" in v}
        if not known:
            sys.exit("error: nothing was measured. See the reasons above.")
        record["devices"] = sorted(known)
        record["minutes"] = round((time.monotonic() - begun) / 60, 1)
        path = given.out or records / "bench" / _file_name(record)
        manifest.write_record(path, record)
    print(f"{os.path.relpath(path)}: written; `make reproduce-bench` shows it")


def _parser():
    parser = parser_of(COMMAND, __doc__)
    add = parser.add_argument
    add(
        "--variants",
        default=",".join(VARIANTS),
        help="variants to measure (default: %(default)s)",
    )
    add(
        "--unit_kind",
        default="bottleneck",
        choices=_LAYERS,
        help="pre-activation bottleneck or post-activation basic units "
        "(default: %(default)s)",
    )
    for name, default, text in (
        ("repeats", 5, "rounds"),
        ("steps", 100 if shutil.which("nvidia-smi") else 10, "steps per measurement"),
        ("batch_size", 128, "images per step"),
        ("depth", 56, "layers of the model"),
        ("width", 16, "inner channels of its first stage"),
        ("image_size", 32, "height and width of the images in pixels"),
    ):
        add(
            f"--{name}",
            type=int,
            default=default,
            help=f"{text} (default: %(default)s)",
        )
    add("--out", type=pathlib.Path, help="record to write (default: in records/bench)")
    add(
        "--torch_python",
        default=os.environ.get("BENCH_TORCH_PYTHON", TORCH_PYTHON),
        help="Python interpreter with PyTorch (default: %(default)s, or the variable "
        "BENCH_TORCH_PYTHON)",
    )
    return parser


def _settings(given):
    """The settings that all variants share."""
    omitted = ("variants", "out", "torch_python")
    settings = {k: v for k, v in vars(given).items() if k not in omitted}
    activation = {"bottleneck": "pre", "basic": "post"}[given.unit_kind]
    return {**settings, "activation": activation}


def _file_name(record):
    """File name of a record, such as `amd-epyc-7b13-2-cores.json`."""
    facts, kind = record["environment"], record["settings"]["unit_kind"]
    accelerators = [device for device in record["devices"] if device != "cpu"]
    name = file_name(facts["cpu"], facts["cores"], "cores", *accelerators)
    return f"{name}{'-basic-post' if kind == 'basic' else ''}.json"


if __name__ == "__main__":
    main()
