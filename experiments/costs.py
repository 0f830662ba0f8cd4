"""Measures what the paper's nets cost before and after, for Tables 2 and 3, Figure 7.

    python -m experiments.costs

Nothing is trained: cost depends on the shape of a net, not on its weights. Nets are the
paper's three pairs of an original and its smallest, and those that our own records
chose. The two of a pair are timed in turns, folded against folded. A pair that this
machine's record holds is not measured again, so the command may be stopped and given
again; --again measures all anew and replaces each pair once it is done.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time

from experiments.bench.worker import time_run
from experiments.pages import manifest
from experiments.pages.results import RECORDS, command, machine_name
from experiments.paper.cost_records import COMMAND, MEASURES, Net, all_nets
from experiments.running.quiet import quiet_start

_RUNS = 100  # as in the paper
_WARMUP = 3  # compiled by the first; a net of the paper needs up to a second
_NAMES = ("original", "shortened")


def initial_architecture(dataset):
    """The net that the paper starts from, as an `Architecture`."""
    from resprune_tf import Architecture

    if dataset == "imagenet2012":
        return Architecture.imagenet(50)
    return Architecture.cifar(56, num_classes={"cifar10": 10, "cifar100": 100}[dataset])


def shorten(architecture, units):
    """The architecture with so many units in each stage; the last ones go.

    Which ones of a stage go makes no difference to the cost.
    """
    return architecture.without(
        unit for unit in architecture.removable if unit.unit > units[unit.stage - 1]
    )


def measure_pair(original, shortened, measures, runs, done):
    """Counts and times of two nets.

    Args:
        original, shortened: an `Architecture` each.
        measures: what to time, each a `Measure`.
        runs: timed calls of each net for each measure.
        done: called with each measure and its record.

    Returns:
        `"counts"` and `"times"` of the pair's record.
    """
    import keras

    from resprune_tf import build_resnet, fold

    keras.backend.clear_session()
    # Experiments normalise pixels in the net; by which constants costs nothing.
    nets = [
        build_resnet(net, mean=(128,) * 3, std=(64,) * 3)
        for net in (original, shortened)
    ]
    folded = [fold(net) for net in nets]
    found = {
        "counts": {
            name: {"unfolded": _counts(net), "folded": _counts(plain)}
            for name, net, plain in zip(_NAMES, nets, folded, strict=True)
        },
        "times": {},
    }
    for measure in measures:
        times = _times(folded if measure.folded else nets, measure, runs)
        found["times"][measure.title] = times
        done(measure, times)
    return found


def _counts(model):
    from resprune_tf import cost

    found = dataclasses.asdict(cost(model))
    if uncounted := found.pop("uncounted"):
        raise ValueError(f"MACs of {', '.join(uncounted)} are not counted.")
    # Of everything that is stored: also ω and the moving statistics.
    return {**found, "weights": model.count_params()}


def _times(nets, measure, runs):
    import numpy as np

    from resprune_tf import latencies

    both = []
    clock = time_run(
        lambda: both.extend(
            latencies(
                nets, measure.batch_size, measure.backward, runs=runs, warmup=_WARMUP
            )
        ),
        images=len(nets) * runs * measure.batch_size,
    )
    original, shortened = both
    low, middle, high = np.percentile(shortened.ratios(original), [10, 50, 90])
    found = {
        "runs": runs,
        "device": original.device,
        "precision": original.precision,
        "elsewhere": clock["elsewhere"],  # processors' share that other programs took
    }
    for name, times in zip(_NAMES, both, strict=True):
        found[name] = {
            key: round(getattr(times, key), 4)
            for key in ("median_ms", "mean_ms", "p10_ms", "p90_ms")
        }
    ratio = {"median": middle, "p10": low, "p90": high}
    found["ratio"] = {key: round(float(value), 5) for key, value in ratio.items()}
    return found


class _Progress:
    """Prints every measurement and the time that is left."""

    def __init__(self, nets):
        self.left = sum(_work(net, m) for net in nets for m in MEASURES[net.dataset])
        self.spent, self.begun = 0, time.monotonic()

    def tell(self, net, measure, times):
        work = _work(net, measure)
        self.spent, self.left = self.spent + work, self.left - work
        seconds = (time.monotonic() - self.begun) * self.left / self.spent
        original, shortened = (times[name]["median_ms"] for name in _NAMES)
        ratio = {key: 100 * value for key, value in times["ratio"].items()}
        print(
            f"{net.title}, {measure.title}: {original:.1f} -> {shortened:.1f} ms, "
            f"{ratio['median']:.1f} % ({ratio['p10']:.1f}-{ratio['p90']:.1f}); "
            f"about {seconds / 60:.1f} minutes left",
            flush=True,
        )


def _work(net, measure):
    """How long a measurement takes, in forward passes of a CIFAR image, roughly."""
    images = measure.batch_size * (20 if net.dataset == "imagenet2012" else 1)
    return 3 + images * (2 if measure.backward else 1)  # 3: the call itself


def missing(nets, record):
    """The nets of which the record lacks anything."""
    known = {
        Net(pair["dataset"], tuple(pair["units"])): set(pair["times"])
        for pair in record["pairs"]
    }
    return [
        net
        for net in nets
        if not {m.title for m in MEASURES[net.dataset]} <= known.get(net, set())
    ]


def main(argv=None, records=RECORDS):
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        sys.exit(f"error: --runs must be >= 1. Received: {arguments.runs}.")
    print("Starting Keras ...", flush=True)
    with quiet_start():
        from resprune_tf.runs.environment import environment
        from resprune_tf.system.whole_files import read_json, write_json

        facts = environment()
    path = arguments.out or records / "costs" / f"{machine_name(facts)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = read_json(path) or {"pairs": []}
    if "pairs" not in record:
        sys.exit(f"error: '{path}' is no record of costs; choose another --out")
    backend = os.environ.get("KERAS_BACKEND")
    call = f"KERAS_BACKEND={backend} " if backend else ""
    call += command(parser, arguments, ("out", "again"))
    nets = all_nets(records)
    if not arguments.again:
        nets = missing(nets, record)
    if not nets:
        print(f"{os.path.relpath(path)} holds all; --again measures anew")
    progress = _Progress(nets)
    for net in nets:
        initial = initial_architecture(net.dataset)
        pair = {
            "dataset": net.dataset,
            "units": list(net.units),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": call,
            "environment": facts,
            **measure_pair(
                initial,
                shorten(initial, net.units),
                MEASURES[net.dataset],
                arguments.runs,
                lambda measure, times, net=net: progress.tell(net, measure, times),
            ),
        }
        others = [
            p for p in record["pairs"] if (p["dataset"], tuple(p["units"])) != net
        ]
        record["pairs"] = sorted(
            [*others, pair], key=lambda p: (p["dataset"], p["units"])
        )
        write_json(path, record)
        manifest.note(path)
        print(f"{os.path.relpath(path)}: {net.title} written", flush=True)


def _parser():
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        help="record to write or add to; default: records/costs/MACHINE.json",
    )
    parser.add_argument(
        "--again", action="store_true", help="measure again what the record holds"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=_RUNS,
        help="timed calls of a net; default: %(default)s",
    )
    return parser


if __name__ == "__main__":
    main()
