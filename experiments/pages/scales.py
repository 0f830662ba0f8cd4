"""Scales: how long a run is compared with the paper's, and how its name states it."""

import re

# By what epochs are divided; schedules are fractions of the epochs, so they follow.
# The scale smoke changes more than epochs: see `run_flags.apply_scale`.
DIVISORS = {"paper": 1, "quarter": 4, "smoke": 1}
# "Full length" are the epochs of a row's flagfile, of ResNet-56 the paper's.
WORDS = {"paper": "full length", "quarter": "a quarter of the epochs"}


def epochs(number, scale):
    """Epochs at a scale, from those at full length; at least 1."""
    return max(1, round(number / DIVISORS[scale]))


def suffix(scale):
    """What a scale adds to the name of a run: nothing, or `"-quarter"`."""
    return f"-{scale}" if scale == "quarter" else ""


def is_smoke_test(name, scale):
    """Whether a record only shows that everything runs, so that it proves nothing.

    Args:
        name: of the record, such as `"cifar10/proof-seed0"`.
        scale: what the flags of the record state.
    """
    return scale == "smoke" or bool(re.search(r"\bproof\b", str(name)))


def check_scale(name, scale):
    """Raises a ValueError if the name of a record states another scale than its flags.

    Args:
        name: of the record or its folder, such as `"cifar10/c10-k2-quarter-seed0"`.
        scale: what the flags of the record state. A smoke test may have any name.
    """
    named = "quarter" if re.search(r"-quarter(-|$)", str(name)) else "paper"
    if scale not in ("smoke", named):
        raise ValueError(
            f"The record '{name}' is of --scale={named} by its name, but its flags.txt "
            f"states --scale={scale}. Name it after its scale, such as "
            f"'c10-k2{suffix(scale)}-seed0'."
        )
