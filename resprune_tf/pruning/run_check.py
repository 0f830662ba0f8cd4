"""What a run directory must hold before a run goes on in it."""

import pathlib
import warnings

import keras

from resprune_tf.pruning.identity import same_model
from resprune_tf.runs import checkpoint, travel
from resprune_tf.runs.records import INITIAL, read_settings
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
    for number, line in enumerate(read_lines(run_dir / "history.jsonl"), start=1):
        if not isinstance(line.get("round"), int):
            raise damaged(run_dir / "history.jsonl", "it has no round", number)
    checkpoint.read_meta(run_dir / "state.npz")
    if settings is None:
        return
    for name in travel.needed_models(run_dir):
        # The model as it was given is written again where it is missing.
        if name != INITIAL or (run_dir / name).exists():
            check_run_model(run_dir / name)


def check_run_model(path) -> None:
    """Raises a RunDirectoryError unless the file of a run's model is whole."""
    try:
        check_whole(path)
    except ModelFileError as error:
        raise damaged(path, error) from error


def load_run_model(path) -> keras.Model:
    """A model of a run directory, not compiled.

    Raises:
        RunDirectoryError: if its file is missing or damaged.
    """
    try:
        return load_model(path, compile=False)
    except ModelFileError as error:
        raise damaged(path, error) from error
