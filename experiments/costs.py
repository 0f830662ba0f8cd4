"""Measures the cost of original and pruned models, for Tables 2 and 3 and Figure 7.

    python -m experiments.costs

Nothing is trained: cost depends on the architecture, not on the weights. The models are
the paper's three pairs of an original and its smallest pruned model, and the pruned
models that our own records selected. The two models of a pair are timed by alternating
calls, both folded or both unfolded. A pair that is in the record of this machine is not
measured again, so the command can be stopped and repeated; --again measures all pairs
again and replaces each one when it is done.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
import sys
import time

from experiments.pages import manifest
from experiments.pages.results import RECORDS, command, machine_name, parser_of
from experiments.paper.cost_records import COMMAND, MEASURES, PrunedModel, all_models
from experiments.running.quiet import quiet_start

_RUNS = 100  # as in the paper
_WARMUP = 3  # the first call compiles
_NAMES = ("original", "shortened")  # keys of the record


def initial_architecture(dataset):
    """The `Architecture` that the paper starts from."""
    from resprune_tf import Architecture

    if dataset == "imagenet2012":
        return Architecture.imagenet(50)
    return Architecture.cifar(56, num_classes={"cifar10": 10, "cifar100": 100}[dataset])


def with_units(architecture, units):
    """The architecture with `units` units in each stage, without the last ones.

    Which units of a stage are removed makes no difference to the cost.
    """
    return architecture.without(
        unit for unit in architecture.removable if unit.unit > units[unit.stage - 1]
    )


def measure_pair(original, pruned, measures, runs, done):
    """Counts and times of two models.

    Args:
        original, pruned: an `Architecture` each.
        measures: list of `Measure`.
        runs: number of timed calls of each model for each measure.
        done: function that is called with each `Measure` and its record.

    Returns:
        dict with `"counts"` and `"times"` for the record of the pair.
    """
    import keras

    from resprune_tf import build_resnet, fold

    keras.backend.clear_session()
    # Experiments normalise pixels in the model; the constants do not affect the cost.
    models = [
        build_resnet(architecture, mean=(128,) * 3, std=(64,) * 3)
        for architecture in (original, pruned)
    ]
    folded = [fold(model) for model in models]
    found = {
        "counts": {
            name: {"unfolded": _counts(model), "folded": _counts(plain)}
            for name, model, plain in zip(_NAMES, models, folded, strict=True)
        },
        "times": {},
    }
    for measure in measures:
        times = _times(folded if measure.folded else models, measure, runs)
        found["times"][measure.title] = times
        done(measure, times)
    return found


def _counts(model):
    from resprune_tf import cost

    found = dataclasses.asdict(cost(model))
    if uncounted := found.pop("uncounted"):
        raise ValueError(f"The MACs of {', '.join(uncounted)} are not counted.")
    # All stored values, including ω and the moving statistics.
    return {**found, "weights": model.count_params()}


def _times(models, measure, runs):
    import numpy as np

    from resprune_tf import latencies

    both = original, pruned = latencies(
        models, measure.batch_size, measure.backward, runs=runs, warmup=_WARMUP
    )
    low, middle, high = np.percentile(pruned.ratios(original), [10, 50, 90])
    found = {
        "runs": runs,
        "device": original.device,
        "precision": original.precision,
        "elsewhere": original.load,  # background load
    }
    for name, times in zip(_NAMES, both, strict=True):
        found[name] = {
            key: round(getattr(times, key), 4)
            for key in ("median_ms", "mean_ms", "p10_ms", "p90_ms")
        }
    ratio = {"median": middle, "p10": low, "p90": high}
    found["ratio"] = {key: round(float(value), 5) for key, value in ratio.items()}
    return found


def _show(done, total, pair, measure, times):
    """Prints a measurement in ms; `done` counts the measurements from 1."""
    original, pruned = (times[name]["median_ms"] for name in _NAMES)
    ratio = {key: 100 * value for key, value in times["ratio"].items()}
    print(
        f"{next(done)} of {total}: {pair.title}, {measure.title}: "
        f"{original:.1f} -> {pruned:.1f} ms, {ratio['median']:.1f} % "
        f"({ratio['p10']:.1f}-{ratio['p90']:.1f})",
        flush=True,
    )


def missing(pairs, record):
    """The `PrunedModel`s whose record lacks a measurement."""
    known = {
        PrunedModel(pair["dataset"], tuple(pair["units"])): set(pair["times"])
        for pair in record["pairs"]
    }
    return [
        pair
        for pair in pairs
        if not {m.title for m in MEASURES[pair.dataset]} <= known.get(pair, set())
    ]


def main(argv=None, records=RECORDS):
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        sys.exit(f"error: --runs must be >= 1. Received: {arguments.runs}.")
    print("Starting Keras ...", flush=True)
    with quiet_start():
        from resprune_tf.runs.environment import environment

        facts = environment()
    path = arguments.out or records / "costs" / f"{machine_name(facts)}.json"
    record = manifest.read_record(path) or {"pairs": []}
    if "pairs" not in record:
        sys.exit(
            f"error: '{path}' is not a record of costs. Choose another file with --out."
        )
    backend = os.environ.get("KERAS_BACKEND")
    command_line = f"KERAS_BACKEND={backend} " if backend else ""
    command_line += command(parser, arguments, ("out", "again"))
    models = all_models(records)
    if not arguments.again:
        models = missing(models, record)
    if not models:
        print(f"{os.path.relpath(path)} is complete; --again measures again")
    total = sum(len(MEASURES[model.dataset]) for model in models)
    done = itertools.count(1)
    for model in models:
        initial = initial_architecture(model.dataset)
        pair = {
            "dataset": model.dataset,
            "units": list(model.units),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": command_line,
            "environment": facts,
            **measure_pair(
                initial,
                with_units(initial, model.units),
                MEASURES[model.dataset],
                arguments.runs,
                functools.partial(_show, done, total, model),
            ),
        }
        others = [
            p for p in record["pairs"] if (p["dataset"], tuple(p["units"])) != model
        ]
        record["pairs"] = sorted(
            [*others, pair], key=lambda p: (p["dataset"], p["units"])
        )
        manifest.write_record(path, record)
        print(f"{os.path.relpath(path)}: {model.title} written", flush=True)


def _parser():
    parser = parser_of(COMMAND, __doc__)
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        help="record to write or extend (default: records/costs/MACHINE.json)",
    )
    parser.add_argument(
        "--again", action="store_true", help="measure again what is recorded"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=_RUNS,
        help="timed calls of each model (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
