"""Estimated time of runs, from the epoch times that are on record."""

import json
import math
import statistics

from experiments.bench.page import speeds, units_of
from experiments.pages.library import RunRecords
from experiments.pages.scales import check_scale
from experiments.paper.rows import BY_RUN, rounds, settings

# Assumed: seconds per epoch of ResNet-56, until an accelerator has a record, and those
# to compile a model.
_EPOCH_SECONDS = 2.0
COMPILE_SECONDS = 40
_EPOCH_IMAGES = 45_000


class Speeds:
    """Seconds per epoch of ResNet-56 on a CPU and on an accelerator.

    They are those of the recorded runs or, before there are any, of the benchmarks.

    Args:
        records: folder of all records.

    Attributes:
        records: the folder.
        cpu, accelerator: seconds; `nan` without a record of a CPU.
        cpu_name: the CPU.
        begun: the `RunRecords` of all rows with a finished round; see `begun`.
        source: whether the time of the accelerator was measured, as text.
    """

    def __init__(self, records):
        self.records, self.begun = records, begun(records)
        runs = self.begun.values()
        cpu, known = (
            measured_epoch(runs, accelerator) or epoch_seconds(records, accelerator)
            for accelerator in (False, True)
        )
        self.cpu_name, self.cpu = cpu or ("a CPU", math.nan)
        device, self.accelerator = known or ("", _EPOCH_SECONDS)
        self.source = f"measured on {device}" if known else "assumed: not measured yet"

    def hours(self, row):
        """Estimated hours of one seed of a row on a CPU and on an accelerator.

        None for ImageNet, whose speed has not been measured. The time of an epoch is
        assumed to be proportional to the number of layers.
        """
        if row.data == "imagenet":
            return None
        work = rounds(row, self.records)
        epochs = sum(number * share for number, share in work)
        accelerator = epochs * self.accelerator + COMPILE_SECONDS * len(work)
        return epochs * self.cpu / 3600, accelerator / 3600


def begun(records):
    """The `RunRecords` of all rows with a finished round, by name with the seed.

    Args:
        records: folder of all records.

    Raises:
        ValueError: if the name and the flags of a record state different scales.
    """
    found = {}
    for row in BY_RUN.values():
        for seed in row.seeds:
            folder = records / row.record(seed)
            if (folder / "rounds.jsonl").is_file():
                run = found[f"{row.run}-seed{seed}"] = RunRecords.read(folder)
                check_scale(f"{row.run}-seed{seed}", run.scale)
    return found


def epoch_seconds(records, accelerator):
    """Median seconds of an epoch of ResNet-56 in bfloat16, as benchmarks measured.

    Args:
        records: folder of the records.
        accelerator: True for JAX on an accelerator, False for TensorFlow on a CPU.

    Returns:
        `(device, seconds)` of the fastest, or None if there is no such record.
    """
    variant = "ours-jax-bfloat16" if accelerator else "ours-bfloat16"
    found = []
    for path in (records / "bench").glob("*.json"):
        record = json.loads(path.read_text())
        device = record["variants"].get(variant, {}).get("device")
        measured = speeds(record, variant, "train")
        stated = record["settings"]
        size = (stated["depth"], stated["width"], stated["batch_size"])
        same = size == (56, 16, 128) and units_of(stated) == units_of({})
        if measured and (device != "cpu") == accelerator and same:
            name = device if accelerator else path.stem.replace("-", " ")
            found.append((_EPOCH_IMAGES / statistics.median(measured), name))
    return min(found)[::-1] if found else None


def measured_epoch(runs, accelerator):
    """Median seconds of an epoch of ResNet-56 in the records of runs.

    Args:
        runs: `RunRecords`.
        accelerator: whether to use the runs on an accelerator or those on a CPU.

    Returns:
        `(device, seconds)`; None if there is no such record.
    """
    found = [
        (r["seconds"] / r["epochs"], device)
        for run in runs
        for r in run.rounds
        if r["layers"] == 56
        and (device := _device(run, accelerator))
        and run.settings.get("dataset", {}).get("train") == _EPOCH_IMAGES
    ]
    if not found:
        return None
    return sorted(found)[-1][1], statistics.median(seconds for seconds, _ in found)


def _device(run, accelerator):
    """The name of the processor or accelerator of a run; None if it is of the other."""
    devices = run.environment.get("devices", "1 cpu")
    if accelerator == (devices == "1 cpu"):
        return None
    return devices if accelerator else run.environment.get("cpu", "a CPU")


def runs_of(names):
    """The planned runs of some rows, and those that they start from.

    Args:
        names: names of rows, each with the suffix of its scale.

    Returns:
        Set of `(row name, seed)`.
    """
    found = set()
    left = [(name, seed) for name in names for seed in BY_RUN[name].seeds]
    while left:
        name, seed = left.pop()
        if (name, seed) not in found:
            found.add((name, seed))
            needed = (run.rsplit("-seed", 1) for run in BY_RUN[name].needs(seed))
            left += ((run, int(number)) for run, number in needed)
    return found


def starts_from_another(row):
    """Whether a row reuses the initial training of another one."""
    return bool(settings(row)["start_from"])
