"""Saves and restores the exact state of a training in one file."""

import json

import keras
import numpy as np

from resprune_tf.system.array_files import ArrayFile
from resprune_tf.system.whole_files import atomic_file, damaged

_META_BYTES = 64 * 2**20  # largest accepted size of the JSON values


def _groups(model):
    # The non-trainable variables include the states of seed generators. `weights` does
    # not, so a continued run would augment differently.
    return {
        "trainable": model.trainable_variables,
        "non_trainable": model.non_trainable_variables,
        "optimizer": model.optimizer.variables,
    }


def save_state(path, model, **meta):
    """Writes all variables of a compiled model and JSON values, atomically.

    Args:
        path: path of an `.npz` file.
        model: a compiled `keras.Model` with a built optimizer.
        **meta: JSON values to save, such as the number of finished epochs.
    """
    arrays = {
        f"{group}_{index}": _storable(keras.ops.convert_to_numpy(variable))
        for group, variables in _groups(model).items()
        for index, variable in enumerate(variables)
    }
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), "uint8")
    with atomic_file(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)


def _storable(array):
    """An array of a type that NumPy's files know; float32 contains all of bfloat16."""
    known = array.dtype.kind in "biuf" and array.dtype.isbuiltin == 1
    return array if known else array.astype("float32")


def read_meta(path):
    """Reads the JSON values of a state file; None if the file does not exist.

    Raises:
        RunDirectoryError: if the file is damaged.
    """
    try:
        with ArrayFile(path) as file:
            if file.headers["meta"].nbytes > _META_BYTES:
                raise ValueError("its JSON values are too large")
            meta = json.loads(bytes(file.read("meta")))
        if not isinstance(meta, dict) or not isinstance(meta.get("round"), int):
            raise ValueError("its JSON values do not contain the number of its round")
        return meta
    except FileNotFoundError:
        return None
    except KeyError:
        raise damaged(path, "it has no JSON values") from None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from None


def read_round(path, round):
    """The JSON values of a state file, as `read_meta`, if they are those of a round.

    They are an empty dict if the file does not exist or contains another round.
    """
    meta = read_meta(path) or {}
    return meta if meta.get("round") == round else {}


def epochs_done(path, round):
    """Number of finished epochs of a round in a state file.

    It is 0 if the file does not exist or contains another round.
    """
    meta = read_round(path, round)
    return meta["epoch"] if meta else 0


def measured(path, round):
    """File size and latency of the model of a round, from its state file.

    Returns:
        dict from measure to number, as `Round.measured`. It is empty if the file does
        not exist or contains another round.

    Raises:
        RunDirectoryError: if the file is damaged.
    """
    found = read_round(path, round).get("measured", {})
    if not isinstance(found, dict) or not all(
        isinstance(value, int | float) for value in found.values()
    ):
        raise damaged(path, "its `measured` is not a dict from names to numbers")
    return found


def load_state(path, model):
    """Sets all variables of a compiled model from a state file.

    Args:
        path: path of a file that `save_state` wrote.
        model: a compiled `keras.Model` of the same structure as the saved one.

    Raises:
        ValueError: if the variables of the file do not fit the model. No variable is
            changed then.
        RunDirectoryError: (a ValueError) if the file is damaged.
    """
    # Only once: a LossScaleOptimizer creates its counters again whenever it is built.
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
                f"'{path}' contains {len(saved)} {group} variables, but the model has "
                f"{len(variables)}. It is the state of another model."
            )
        for index, variable in enumerate(variables):
            name, shape = f"{group}_{index}", tuple(variable.shape)
            found = headers.get(name)
            # At most 8 bytes per value, which limits how much is read.
            if not found or found.shape != shape or found.dtype.itemsize > 8:
                raise _OtherModel(
                    f"'{path}' contains {name} as {found}, but the model needs the "
                    f"shape {shape}. It is the state of another model."
                )
