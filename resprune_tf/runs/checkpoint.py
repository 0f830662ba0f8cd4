"""The state of a training run in one file: stop anywhere, continue exactly."""

import json

import keras
import numpy as np

from resprune_tf.system.array_files import ArrayFile
from resprune_tf.system.whole_files import atomic_file, damaged

_META_BYTES = 64 * 2**20  # most of the JSON values: the history of a round


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
    """The JSON values of a state file, or None if there is no such file.

    Raises:
        RunDirectoryError: if the file is damaged.
    """
    try:
        with ArrayFile(path) as file:
            if file.headers["meta"].nbytes > _META_BYTES:
                raise ValueError("its JSON values are too large")
            meta = json.loads(bytes(file.read("meta")))
        if not isinstance(meta, dict) or not isinstance(meta.get("round"), int):
            raise ValueError("it does not say of which round it is")
        return meta
    except FileNotFoundError:
        return None
    except KeyError:
        raise damaged(path, "it has no JSON values") from None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from None


def epochs_done(path, round):
    """Epochs of a round that a state file holds; 0 if it is of another, or none."""
    meta = read_meta(path) or {}
    return meta["epoch"] if meta.get("round") == round else 0


def load_state(path, model):
    """Sets all variables of a compiled model of the same structure.

    Raises:
        ValueError: if the file's variables do not fit the model's, before any is read.
        RunDirectoryError: (a ValueError) if the file is damaged.
    """
    # Once: building a LossScaleOptimizer again would make its counters anew.
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    try:
        with ArrayFile(path) as file:
            _check_headers(path, file.headers, model)
            for group, variables in _groups(model).items():
                for index, variable in enumerate(variables):
                    variable.assign(file.read(f"{group}_{index}"))
    except _OtherModel as error:
        raise ValueError(str(error)) from None
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


class _OtherModel(ValueError):
    """The state of another model."""


def _check_headers(path, headers, model):
    for group, variables in _groups(model).items():
        saved = [name for name in headers if name.startswith(f"{group}_")]
        if len(saved) != len(variables):
            raise _OtherModel(
                f"'{path}' holds {len(saved)} {group} variables, the model has "
                f"{len(variables)}: it is the state of another net."
            )
        for index, variable in enumerate(variables):
            name, shape = f"{group}_{index}", tuple(variable.shape)
            found = headers.get(name)
            # Eight bytes a value, whatever its type.
            if not found or found.shape != shape or found.dtype.itemsize > 8:
                raise _OtherModel(
                    f"'{path}' holds {name} as {found}, the model needs the shape "
                    f"{shape}: it is the state of another net."
                )
