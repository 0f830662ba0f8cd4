"""What a finished run left for other runs to be compared with."""

import math
import pathlib

from experiments.run_records import Run


def _rounds(run_dir):
    """Rounds of a finished run, up to the one of its chosen net."""
    run = Run.read(run_dir)
    if run.selected is None:
        raise ValueError(f"'{run_dir}' holds no finished run to take a budget from.")
    return [r for r in run.rounds if r["round"] <= run.selected["round"]]


def lost(run_dir):
    """Names of the units that the chosen net of a run lost.

    Raises:
        ValueError: if there is no finished run in the folder; likewise below.
    """
    return [unit for record in _rounds(run_dir) for unit in record["removed"]]


def epochs(run_dir):
    """Epochs that a run took to its chosen net, initial training included."""
    return sum(record["epochs"] for record in _rounds(run_dir))


def epochs_of_compute(run_dir, macs):
    """Epochs of a net of so many MACs that cost what a run took to its chosen net."""
    spent = sum(record["epochs"] * record["macs"] for record in _rounds(run_dir))
    return math.ceil(spent / macs)


def initial_net(run_dir):
    """Path of a run's net after its initial training."""
    path = pathlib.Path(run_dir) / "models" / "round-00.keras"
    if not path.is_file():
        raise ValueError(
            f"'{run_dir}' holds no trained initial net (models/round-00.keras) to be "
            "the teacher. Run it first; records alone do not hold it."
        )
    return path
