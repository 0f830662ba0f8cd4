"""Made-up records of measured costs, for the tests of pages."""

from experiments.paper.cost_records import MEASURES, PAPER
from resprune_tf.system.whole_files import write_json

FULL = {"layers": 56, "parameters": 500_000, "macs": 80_000_000}
SHORT = {"layers": 32, "parameters": 400_000, "macs": 50_000_000}


def made_counts(counts):
    return {
        "unfolded": {**counts, "conv_macs": counts["macs"], "weights": 750_000},
        "folded": {**counts, "conv_macs": counts["macs"], "weights": 250_000},
    }


def made_times(full_ms, short_ms):
    """Times of which the mean is a tenth above the median."""

    def one(ms):
        return {
            "median_ms": ms,
            "mean_ms": 1.1 * ms,
            "p10_ms": ms - 1,
            "p90_ms": ms + 2,
        }

    return {
        "runs": 100,
        "device": "cpu",
        "precision": "float32",
        "elsewhere": 0.25,
        "original": one(full_ms),
        "shortened": one(short_ms),
        "ratio": {"median": short_ms / full_ms, "p10": 0.55, "p90": 0.65},
    }


def made_pair(net, full_ms=10.0, short_ms=6.0):
    return {
        "dataset": net.dataset,
        "units": list(net.units),
        "started": "2026-01-02T03:04:05+0000",
        "command": "python -m experiments.costs",
        "environment": {
            "python": "3.12.1",
            "platform": "Linux",
            "cpu": "Some CPU",
            "cores": 4,
            "keras": "3.12.0",
            "tensorflow": "2.20.0",
            "backend": "tensorflow",
            "devices": "1 cpu",
            "commit": "0123456789abcdef with changes",
        },
        "counts": {"original": made_counts(FULL), "shortened": made_counts(SHORT)},
        "times": {
            measure.title: made_times(full_ms, short_ms)
            for measure in MEASURES[net.dataset]
        },
    }


def write_machine(records, *pairs, name="some-cpu"):
    """Writes a record of pairs; by default of the paper's three."""
    (records / "costs").mkdir(parents=True, exist_ok=True)
    pairs = list(pairs or map(made_pair, PAPER))
    write_json(records / "costs" / f"{name}.json", {"pairs": pairs})
