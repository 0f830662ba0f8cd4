"""Text of the cells of tables: accuracies and differences in %, over seeds."""

import collections

from experiments.pages.library import counted

# For the text of every page with cells of `each`.
COUNTED_SEEDS = "`11 (7)` means that 7 seeds have the value 11"


def percent(summary):
    """Mean and standard deviation over seeds, such as `92.88 ± 0.12 (n = 3)`."""
    return "-" if summary is None else f"{spread(summary)} (n = {summary.n})"


def spread(summary):
    """The same without the number of seeds, such as `92.88 ± 0.12`."""
    if summary is None:
        return "-"
    sd = "" if summary.sd is None else f" ± {100 * summary.sd:.2f}"
    return f"{100 * summary.mean:.2f}{sd}"


def points(paired):
    """A mean difference in percentage points: `+0.10 [-0.02, +0.22] (n = 3)`."""
    if paired is None:
        return "-"
    mean, low, high = (
        signed(100 * (value or 0)) for value in (paired.mean, paired.low, paired.high)
    )
    if paired.low is None:
        return f"{mean} (n = 1)"
    return f"{mean} [{low}, {high}] (n = {paired.n})"


def signed(value):
    """A number with its sign and two decimal places, such as `+0.10`, never `-0.00`."""
    return f"{round(value, 2) + 0.0:+.2f}"


def each(values):
    """Values over seeds with their counts, such as `32 (2), 35 (1)`; one has none."""
    counts = collections.Counter(values)
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{value} ({count})" for value, count in sorted(counts.items()))


def processor(run):
    """What a recorded run computed on: `AMD EPYC, 2 cores` or `1 NVIDIA H200`."""
    machine = run.environment
    devices = machine.get("devices", "1 cpu")
    if devices == "1 cpu":
        cores = machine.get("cores")
        told = counted(cores, "core") if cores else "? cores"
        return f"{machine.get('cpu', 'unknown')}, {told}"
    return devices


def joined(parts, word="and"):
    """Texts as a phrase, such as `a, b and c`."""
    *first, last = parts
    return f" {word} ".join(filter(None, [", ".join(first), last]))


def hours(seconds):
    """Hours, such as `1.25`."""
    return f"{seconds / 3600:.2f}"


def on_split(split):
    """The name of a split on the pages."""
    return "test set" if split == "test" else "held-out images"
