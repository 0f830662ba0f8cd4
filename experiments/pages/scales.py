"""Scales: the length of runs relative to the paper, and its part of their names."""

import math
import re

# Divisors of the epochs. Schedules are fractions of the epochs, so they follow.
# The scale smoke changes more than epochs: see `run_flags.apply_scale`.
DIVISORS = {"paper": 1, "quarter": 4, "smoke": 1}
WORDS = {"paper": "full length", "quarter": "a quarter of the epochs"}
OWN = "own schedule"  # of models that are not in the paper
# Runs of the paper's models, which have its epochs at full length.
_PLANNED = re.compile(r"(^|/)(c10|c100|in)-(?!r29\b)")


def words(name, scale):
    """The scale of a record or run in words.

    Args:
        name: such as `"cifar10/c10-k2"` or `"digits/demo-seed0"`.
        scale: value of `--scale` in its flags.
    """
    return OWN if scale == "paper" and not _PLANNED.search(name) else WORDS[scale]


def epochs(number, scale):
    """Epochs at a scale, given those at full length; at least 1."""
    return max(1, round(number / DIVISORS[scale]))


def epochs_of_compute(rounds, macs):
    """Epochs in which a model uses as much compute as recorded rounds.

    Args:
        rounds: records of rounds, dicts with `epochs` and `macs`.
        macs: MACs of the model.
    """
    return math.ceil(sum(r["epochs"] * r["macs"] for r in rounds) / macs)


def suffix(scale):
    """The suffix of a scale in the name of a run: `""` or `"-quarter"`."""
    return f"-{scale}" if scale == "quarter" else ""


def full_length_first(name):
    """Sorts records by run and seed, with full length before other scales.

    Args:
        name: such as `"cifar10/c10-k2-quarter-seed0"`, with or without the seed.
    """
    run = re.sub(r"-seed\d+$", "", name)
    return run.removesuffix("-quarter"), run, name


def is_smoke_test(name, scale):
    """Whether a record is a smoke test, which supports no claim.

    Args:
        name: name of the record, such as `"cifar10/proof-seed0"`.
        scale: value of `--scale` in the flags of the record.
    """
    return scale == "smoke" or bool(re.search(r"\bproof\b", str(name)))


def check_scale(name, scale):
    """Raises a ValueError if the name and the flags of a record state different scales.

    Args:
        name: name of the record or folder, such as `"cifar10/c10-k2-quarter-seed0"`.
        scale: value of `--scale` in its flags. A smoke test can have any name.
    """
    named = "quarter" if re.search(r"-quarter(-|$)", str(name)) else "paper"
    if scale not in ("smoke", named):
        raise ValueError(
            f"The record named '{name}' states --scale={named}, but its flags.txt "
            f"states --scale={scale}. Name it after its scale, such as "
            f"'c10-k2{suffix(scale)}-seed0'."
        )
