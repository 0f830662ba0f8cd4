"""What a run directory must hold before a run goes on in it."""

import pathlib
import warnings

import keras

from resprune_tf.graph.cost import cost
from resprune_tf.pruning.identity import same_model
from resprune_tf.runs import checkpoint
from resprune_tf.runs.records import INITIAL, RunDirectory, read_rounds, read_settings
from resprune_tf.runs.state_file import needed_models
from resprune_tf.system.model_files import ModelFileError, check_whole, load_model
from resprune_tf.system.whole_files import RunDirectoryError, damaged, read_lines


def comparable(run_dir, settings: dict) -> dict:
    """The settings of a run, as far as a run directory can be compared with them.

    Earlier versions recorded neither which model a run began with nor the code of its
    criterion. Such a model is recognized by `models/initial.keras`; where that is
    missing, because the directory came out of a state file, a warning says so.

    Args:
        run_dir: of a run that may have begun.
        settings: as `RunDirectory.claim` takes them.

    Raises:
        RunDirectoryError: if the run began with another model.
    """
    run_dir = pathlib.Path(run_dir)
    known = read_settings(run_dir)
    if known is None or "model" in known:
        return settings
    unknown = ["criterion"] if "criterion_code" in settings else []
    if (run_dir / INITIAL).exists():
        first = load_run_model(run_dir / INITIAL)
        if not same_model(first, settings["model"]):
            raise RunDirectoryError(
                f"'{run_dir}' holds a run that began with another model, the one in "
                f"its {INITIAL}. Choose another run directory, or give that model to "
                "continue the run."
            )
    elif (run_dir / "rounds.jsonl").exists():
        unknown.append("model")
    if unknown:
        warnings.warn(
            f"The run in '{run_dir}' was begun by an earlier version, and nothing in "
            f"it shows whether it has the same {' and '.join(unknown)}. It is "
            "continued as if it had.",
            stacklevel=2,
        )
    return {
        name: value
        for name, value in settings.items()
        if name not in ("model", "criterion_code")
    }


def check_files(run_dir) -> None:
    """Checks that every file that a run will read is whole, before any work.

    Files that the run writes again, such as `final.json`, are not read.

    Args:
        run_dir: of a run that may have begun.

    Raises:
        RunDirectoryError: if one is not; it says what to restore or to delete.
    """
    run_dir = pathlib.Path(run_dir)
    settings = read_settings(run_dir)
    read_lines(run_dir / "sessions.jsonl")
    check_history(run_dir)
    checkpoint.read_meta(run_dir / "state.npz")
    RunDirectory(run_dir).diverged  # noqa: B018 - it is read, and so checked
    if settings is None:
        return
    for name in sorted({INITIAL, *needed_models(run_dir)}):
        # The model as it was given is written again, or not needed, where it is
        # missing.
        if name != INITIAL or (run_dir / name).exists():
            check_run_model(run_dir / name)


def check_history(run_dir) -> None:
    """Raises a RunDirectoryError if an epoch of a round is not in history.jsonl.

    The file may be missing, or begin with a later round, as in a run which took its
    first round over, or whose damaged file was deleted. A round that is not finished
    may be in it, since it is written before `rounds.jsonl`.
    """
    path, found = pathlib.Path(run_dir) / "history.jsonl", {}
    for number, line in enumerate(read_lines(path), start=1):
        if not isinstance(line.get("round"), int):
            raise damaged(path, "it has no round", number)
        found.setdefault(line["round"], []).append(line.get("epoch"))
    if not path.exists():
        return
    for record in read_rounds(run_dir):
        if record.round < min(found, default=0):
            continue
        told = found.get(record.round, [])
        # Where a recipe divides epochs, each part has a line, such as of epoch 0.25.
        parts = told.index(1) + 1 if 1 in told else 1
        counted = [(part + 1) / parts for part in range(len(told))]
        if told != counted or len(told) != parts * record.epochs:
            missing = f"not every epoch of round {record.round} is in it"
            raise damaged(path, f"{missing} (epochs: {record.epochs})")


def check_run_model(path) -> None:
    """Raises a RunDirectoryError unless the file of a run's model is whole."""
    try:
        check_whole(path)
    except ModelFileError as error:
        raise damaged(path, error) from error


def load_run_model(path, record=None) -> keras.Model:
    """A model of a run directory, not compiled.

    Args:
        path: of its file.
        record: the `Round` that it is the model of, if it is one's.

    Raises:
        RunDirectoryError: if its file is missing, damaged, or that of another round.
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
                f"its model has {parameters:,} parameters, and that of round "
                f"{record.round} had {record.parameters:,}",
            )
    return model
