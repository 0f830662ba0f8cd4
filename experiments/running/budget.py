"""What a finished run left for other runs to be compared with."""

import math
import pathlib

from experiments.pages.library import RunRecords


def _rounds(run_dir, of_round):
    """Rounds of a finished run, up to the selected or the last one."""
    run = RunRecords.read(run_dir)
    if run.selected is None:
        raise ValueError(f"'{run_dir}' holds no finished run to take a budget from.")
    last = run.selected if of_round == "selected" else run.rounds[-1]
    return [r for r in run.rounds if r["round"] <= last["round"]]


def lost(run_dir, of_round="selected"):
    """Names of the units that a run had lost by a round.

    Args:
        run_dir: folder of a finished run.
        of_round: `"selected"` or `"last"`; likewise below.

    Raises:
        ValueError: if there is no finished run in the folder; likewise below.
    """
    return [unit for r in _rounds(run_dir, of_round) for unit in r["removed"]]


def epochs(run_dir, of_round="selected"):
    """Epochs that a run took to a round, initial training included."""
    return sum(record["epochs"] for record in _rounds(run_dir, of_round))


def epochs_of_compute(run_dir, macs, of_round="selected"):
    """Epochs of a model of so many MACs that cost what a run took to a round."""
    spent = sum(r["epochs"] * r["macs"] for r in _rounds(run_dir, of_round))
    return math.ceil(spent / macs)


def precision(run_dir):
    """Precision that a run trains in, finished or not; None if there is no run."""
    try:
        return RunRecords.read(run_dir).settings["recipe"]["precision"]
    except (ValueError, KeyError):
        return None


def initial_net(run_dir):
    """Path of a run's net after its initial training."""
    path = pathlib.Path(run_dir) / "models" / "round-00.keras"
    if not path.is_file():
        raise ValueError(
            f"'{run_dir}' holds no trained initial net (models/round-00.keras) to be "
            "the teacher. Run it first; records alone do not hold it."
        )
    return path
