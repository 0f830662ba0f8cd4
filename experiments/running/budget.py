"""Epochs, compute and units of a finished run, for runs that are compared with it."""

import pathlib

from experiments.pages import scales
from experiments.pages.library import RunRecords


def _rounds(run_dir, of_round):
    """Rounds of a finished run, up to the selected or the last one."""
    run = RunRecords.read(run_dir)
    if run.selected is None:
        raise ValueError(
            f"'{run_dir}' has no finished run whose budget could be used. Finish that "
            "run first."
        )
    last = run.selected if of_round == "selected" else run.rounds[-1]
    return [r for r in run.rounds if r["round"] <= last["round"]]


def removed_units(run_dir, of_round="selected"):
    """Names of the units that a run removed up to a round.

    Args:
        run_dir: folder of a finished run.
        of_round: `"selected"` or `"last"`.

    Raises:
        ValueError: if there is no finished run in the folder. The functions below have
            the same arguments and error.
    """
    return [unit for r in _rounds(run_dir, of_round) for unit in r["removed"]]


def epochs(run_dir, of_round="selected"):
    """Epochs of a run up to a round, with the initial training."""
    return sum(record["epochs"] for record in _rounds(run_dir, of_round))


def epochs_of_compute(run_dir, macs, of_round="selected"):
    """Epochs in which a model of `macs` uses the compute of a run up to a round."""
    return scales.epochs_of_compute(_rounds(run_dir, of_round), macs)


def precision(run_dir):
    """Precision of a run, finished or not; None if there is no run."""
    try:
        return RunRecords.read(run_dir).settings["recipe"]["precision"]
    except (ValueError, KeyError):
        return None


def initial_model(run_dir):
    """Path of the model of a run after its initial training."""
    path = pathlib.Path(run_dir) / "models" / "round-00.keras"
    if not path.is_file():
        raise ValueError(
            f"'{run_dir}' has no trained initial model (models/round-00.keras) that "
            "could be the teacher. Run it first; records may lack this model."
        )
    return path
