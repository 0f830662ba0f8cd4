"""What a run directory must hold before a run goes on in it."""

import pathlib
import warnings

import keras

from resprune_tf.identity import same_model
from resprune_tf.records import INITIAL, RunDirectoryError, read_json


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
    known = read_json(run_dir / "run.json")
    if known is None or "model" in known:
        return settings
    unknown = ["criterion"] if "criterion_code" in settings else []
    if (run_dir / INITIAL).exists():
        first = keras.saving.load_model(run_dir / INITIAL, compile=False)
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
