"""Checks the files of a run directory before a run continues in it."""

import pathlib

import keras

from resprune_tf.graph.cost import cost
from resprune_tf.runs import checkpoint
from resprune_tf.runs.records import INITIAL, RunDirectory, read_rounds, read_settings
from resprune_tf.runs.state_file import needed_models
from resprune_tf.system.model_files import ModelFileError, check_whole, load_model
from resprune_tf.system.whole_files import damaged, read_lines


def check_files(run_dir) -> None:
    """Checks, before any work, that the files that a run needs are intact.

    Files that the run writes again, such as `final.json`, are not checked.

    Args:
        run_dir: path of a run directory, which may be new.

    Raises:
        RunDirectoryError: if a file is damaged. The message states what to restore or
            delete.
    """
    run_dir = pathlib.Path(run_dir)
    settings = read_settings(run_dir)
    read_lines(run_dir / "sessions.jsonl")
    check_history(run_dir)
    checkpoint.read_meta(run_dir / "state.npz")
    RunDirectory(run_dir).diverged  # noqa: B018 - reading it checks it
    if settings is None:
        return
    for name in sorted({INITIAL, *needed_models(run_dir)}):
        # A missing initial model is written again or not needed.
        if name != INITIAL or (run_dir / name).exists():
            check_run_model(run_dir / name)


def check_history(run_dir) -> None:
    """Raises a RunDirectoryError if an epoch of a round is missing in history.jsonl.

    The file may be missing or begin with a later round, if round 0 was reused from
    another run or a damaged file was deleted. It may contain a round that is not in
    `rounds.jsonl`, because it is written first.
    """
    path, found = pathlib.Path(run_dir) / "history.jsonl", {}
    for number, line in enumerate(read_lines(path), start=1):
        if not isinstance(line.get("round"), int):
            raise damaged(path, "it has no integer `round`", number)
        found.setdefault(line["round"], []).append(line.get("epoch"))
    if not path.exists():
        return
    for record in read_rounds(run_dir):
        if record.round < min(found, default=0):
            continue
        epochs = found.get(record.round, [])
        # If the recipe divides epochs, each part has a line, such as of epoch 0.25.
        parts = epochs.index(1) + 1 if 1 in epochs else 1
        expected = [(part + 1) / parts for part in range(len(epochs))]
        if epochs != expected or len(epochs) != parts * record.epochs:
            missing = f"it does not contain every epoch of round {record.round}"
            raise damaged(path, f"{missing} (epochs: {record.epochs})")


def check_run_model(path) -> None:
    """Raises a RunDirectoryError if a model file of a run is damaged or missing."""
    try:
        check_whole(path)
    except ModelFileError as error:
        raise damaged(path, error) from error


def load_run_model(path, record=None) -> keras.Model:
    """Loads a model of a run directory, not compiled.

    Args:
        path: path of the file.
        record: the `Round` of the model; None for the initial model or a teacher.

    Raises:
        RunDirectoryError: if the file is missing or damaged, or if its model is not
            that of the round.
    """
    try:
        model = load_model(path, compile=False)
    except ModelFileError as error:
        raise damaged(path, error) from error
    if record is not None:
        parameters = cost(model).parameters
        if parameters != record.parameters:
            raise damaged(
                path,
                f"its model has {parameters:,} parameters, but the model of round "
                f"{record.round} has {record.parameters:,}",
            )
    return model
