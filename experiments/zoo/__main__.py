"""Finds and removes the units of well-known models and of an unusual one.

    python -m experiments.zoo             units, exactness, MACs
    python -m experiments.zoo --latency   latency on LiteRT and ONNX Runtime

Nothing is trained or downloaded. Weights and the statistics of normalization layers are
random, so that every branch has an effect. Recorded models are not measured again, so
the command can be stopped and repeated.
"""

import contextlib
import importlib.metadata
import os
import sys
import time

from experiments.pages import manifest
from experiments.pages.results import RECORDS, machine_name, parser_of
from experiments.running.quiet import quiet_start
from experiments.zoo.models import NETS, TIMED
from experiments.zoo.page import COMMAND

RUNTIMES = ("litert", "onnxruntime")
_IMAGES = 2


def randomize(model, images, seed=0):
    """Replaces constant weights by random values; returns a recalibrated copy.

    Some models initialise the last scale of a branch with 0, so that removing the
    branch would have no effect. BatchNormalization gets the statistics of `images`,
    because signals would vanish or explode in random convolutions otherwise.
    """
    import numpy as np

    from resprune_tf.training.recalibration import recalibrate

    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = np.asarray(variable)
        if value.size and value.min() == value.max():
            low, high = (0.5, 1.5) if "variance" in variable.path else (0.3, 0.9)
            variable.assign(rng.uniform(low, high, value.shape).astype(value.dtype))
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):  # Normalization caches its statistics
            layer.finalize_state()
    return recalibrate(model, images)


def cheapest_third(units):
    """Names of the third of the removable units whose removal saves the fewest MACs."""
    removable = [unit for unit in units if unit.removable]
    count = max(1, len(removable) // 3)
    return [unit.name for unit in sorted(removable, key=lambda u: u.macs)[:count]]


def _random_model(entry):
    """The model of a `ZooModel` with random weights, and images for it."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    images = _images(entry)
    return randomize(entry.build(), images), images


def survey(entry):
    """Units of a model, and how exactly and fast they are removed, as JSON values."""
    from resprune_tf import add_importance, cost, find_units, remove_units

    model, images = _random_model(entry)
    begun = time.perf_counter()
    units = find_units(model)
    found = {
        "units": len(units),
        "removable": sum(unit.removable for unit in units),
        "projections": sum(unit.kind == "projection" for unit in units),
        "opaque": [f"{each.name} ({each.kind})" for each in units.opaque],
        "opened": entry.opened,
        "input": [entry.size, entry.size, 3],
        "seconds_to_find": round(time.perf_counter() - begun, 3),
        "full": _size(cost(model)),
    }
    if not found["removable"]:
        return found
    outputs = _run(model, images)
    inserted = _run(add_importance(model), images)
    found["difference_inserted"] = _difference(inserted, outputs)
    everything = [unit.name for unit in units if unit.removable]
    for key, names in (("third", cheapest_third(units)), ("all", everything)):
        begun = time.perf_counter()
        pruned = remove_units(model, names)
        seconds = time.perf_counter() - begun
        zeroed = _run(add_importance(model, names, value=0.0), images)
        without = _run(pruned, images)
        found[key] = {
            "removed": len(names),
            "seconds_to_remove": round(seconds, 3),
            **_size(cost(pruned)),
            "difference_to_silenced": _difference(without, zeroed),
            "difference_to_full": _difference(without, outputs),
        }
    return found


def _images(entry):
    """Noise in the range of pixels, float32 `(images, size, size, 3)`."""
    import numpy as np

    shape = _IMAGES, entry.size, entry.size, 3
    return np.random.default_rng(1).uniform(0, 255, shape).astype("float32")


def _size(counted):
    return {
        "layers": counted.layers,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "uncounted": list(counted.uncounted),
    }


def _run(model, images):
    import keras

    outputs = keras.tree.flatten(model(images, training=False))
    return [keras.ops.convert_to_numpy(y).astype("float64") for y in outputs]


def _difference(found, expected):
    """Largest absolute difference, divided by the largest expected output."""
    pairs = list(zip(found, expected, strict=True))
    largest = max(abs(b).max() for _, b in pairs)
    return float(max(abs(a - b).max() for a, b in pairs) / largest)


def time_model(entry, runtime, runs):
    """Latency without the cheapest third and without all removable units.

    Args:
        entry: `ZooModel`.
        runtime: one of `RUNTIMES`.
        runs: timed calls of each model.

    Returns:
        dict of JSON values: times, and ratios of MACs and of times to the full model.
    """
    import numpy as np

    from resprune_tf import cost, find_units, remove_units, runtime_latencies

    model, _ = _random_model(entry)
    units = find_units(model)
    everything = [unit.name for unit in units if unit.removable]
    models = {
        "full": model,
        "third": remove_units(model, cheapest_third(units)),
        "all": remove_units(model, everything),
    }
    measured = runtime_latencies(models.values(), runtime, runs=runs)
    times = dict(zip(models, measured, strict=True))
    found = {
        "runs": runs,
        "batch_size": 1,
        "threads": 1,
        "full": {"median_ms": round(times["full"].median_ms, 3)},
    }
    macs = cost(model).macs
    for key in ("third", "all"):
        low, middle, high = np.percentile(
            times[key].ratios(times["full"]), [10, 50, 90]
        )
        found[key] = {
            "median_ms": round(times[key].median_ms, 3),
            "macs_ratio": round(cost(models[key]).macs / macs, 4),
            "ratio": {
                "median": round(float(middle), 4),
                "p10": round(float(low), 4),
                "p90": round(float(high), 4),
            },
        }
    return found


def main(argv=None, records=RECORDS, nets=NETS):
    arguments = _parser().parse_args(argv)
    if arguments.runs < 1:
        sys.exit(f"error: --runs must be >= 1. Received: {arguments.runs}.")
    print("Starting Keras ...", flush=True)
    with quiet_start():
        from resprune_tf.runs.environment import environment

        facts = environment() | _versions()
    if arguments.latency:
        path = records / "zoo" / f"latency-{machine_name(facts)}.json"
        work = {
            f"{entry.name}, {runtime}": lambda entry=entry, runtime=runtime: time_model(
                entry, runtime, arguments.runs
            )
            for entry in nets
            if entry.name in TIMED
            for runtime in RUNTIMES
        }
    else:
        path = records / "zoo" / "units.json"
        work = {
            f"{entry.name}, {entry.source}": lambda entry=entry: survey(entry)
            for entry in nets
        }
    record = manifest.read_record(path) or {"nets": {}}
    for name, measure in work.items():
        if name in record["nets"] and not arguments.again:
            continue
        begun = time.monotonic()
        record["nets"][name] = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **measure(),
        }
        record["environment"] = facts
        record["command"] = COMMAND + (" --latency" if arguments.latency else "")
        manifest.write_record(path, record)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    print(f"written: {os.path.relpath(path)}")


def _versions():
    found = {}
    for name in ("keras-hub", "ai-edge-litert", "onnxruntime"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _parser():
    parser = parser_of(COMMAND, __doc__)
    parser.add_argument(
        "--latency",
        action="store_true",
        help="measure latency instead of units",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=50,
        help="timed calls per model (default: %(default)s)",
    )
    parser.add_argument("--again", action="store_true", help="measure everything again")
    return parser


if __name__ == "__main__":
    main()
