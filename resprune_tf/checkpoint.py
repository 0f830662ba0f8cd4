"""The state of a training run in one file: stop anywhere, continue exactly."""

import json

import keras
import numpy as np

from resprune_tf.records import atomic_file


def _groups(model):
    # Seed generators' states are among the non-trainable variables; `weights` lacks
    # them, and a resumed run would augment differently.
    return {
        "trainable": model.trainable_variables,
        "non_trainable": model.non_trainable_variables,
        "optimizer": model.optimizer.variables,
    }


def save_state(path, model, **meta):
    """Writes all variables of a compiled model and JSON values, atomically.

    Args:
        path: of an `.npz` file.
        model: compiled `keras.Model` with a built optimizer.
        **meta: what else to keep, such as the number of finished epochs.
    """
    arrays = {
        f"{group}_{index}": keras.ops.convert_to_numpy(variable)
        for group, variables in _groups(model).items()
        for index, variable in enumerate(variables)
    }
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), "uint8")
    with atomic_file(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)


def read_meta(path):
    """The JSON values of a state file, or None if there is no such file."""
    try:
        with np.load(path) as arrays:
            return json.loads(bytes(arrays["meta"]))
    except FileNotFoundError:
        return None


def epochs_done(path, round):
    """Epochs of a round that a state file holds; 0 if it is of another, or none."""
    meta = read_meta(path) or {}
    return meta["epoch"] if meta.get("round") == round else 0


def load_state(path, model):
    """Sets all variables of a compiled model of the same structure.

    Raises:
        ValueError: if the file's variables do not fit the model's.
    """
    # Once: building a LossScaleOptimizer again would make its counters anew.
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    with np.load(path) as arrays:
        for group, variables in _groups(model).items():
            saved = [name for name in arrays.files if name.startswith(f"{group}_")]
            if len(saved) != len(variables):
                raise ValueError(
                    f"'{path}' holds {len(saved)} {group} variables, the model has "
                    f"{len(variables)}: it is the state of another net."
                )
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"{group}_{index}"])
