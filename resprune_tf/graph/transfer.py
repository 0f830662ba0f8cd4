"""Weights from one model, or a file of weights, to another: by the names of layers.

Keras's own `load_weights` goes by the places of layers among those of their class, so
that a file of a whole net fits a shortened one whose shapes happen to agree, and fills
it with the wrong weights.
"""

from __future__ import annotations

import os

import keras

from resprune_tf import graph
from resprune_tf.graph.cloning import copy_state, keeps_own_state
from resprune_tf.system.model_files import ModelFileError, check_layer


def pairs(source, target):
    """The layers of two models that bear the same name, those in nested models too.

    Yields:
        `(layer of source, layer of target)`, in the order of `target`.
    """
    named = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        known = named.get(layer.name)
        if known is None:
            continue
        if graph.inner(layer) is not None and graph.inner(known) is not None:
            yield from pairs(known, layer)
        else:
            yield known, layer


def copy_values(source, target):
    """Sets the layers of a model to the state of those of the same names in another.

    Layers that only one of the two has are left as they are.

    Args:
        source, target: functional models, such as a net and what `remove_units` made
            of it, or `fast_copy`.

    Raises:
        CloneError: if two layers of one name differ in the shapes of their variables.
    """
    for old, new in pairs(source, target):
        copy_state(old, new)


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads the weights of a model's layers from a file, by the layers' names.

    The file may be one of a longer net: of what a shortened one has lost nothing is
    looked at.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is changed, but
            not if the file lacks any of its layers.
        path: a `.weights.h5` file, as `keras.Model.save_weights` writes it.

    Raises:
        ValueError: if the file is no `.weights.h5`, is damaged, lacks a layer of
            `model`, or holds one of other shapes, or one that would take more memory
            than it needs.
        FileNotFoundError: if there is no such file.
        TypeError: if `model` has no graph to read.

    >>> shorter = remove_units(model, "stage1_unit3")
    >>> load_weights(shorter, "trained-before.weights.h5")
    """
    import h5py

    graph.check_functional(model, "load_weights")
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file '{path}'.")
    if not str(path).endswith(".weights.h5"):
        raise ValueError(
            "load_weights reads the files of `keras.Model.save_weights`, which end in "
            f"`.weights.h5`. Received: '{path}'."
        )
    try:
        with h5py.File(path) as file:
            places = list(_places(model, file))
            for _, layer, place in places:
                if place is not None:
                    check_layer(path, file[place], layer)
    except ModelFileError:
        raise
    # What h5py raises for a damaged file depends on which bytes are damaged.
    except (
        *(OSError, RuntimeError, KeyError, ValueError, TypeError),
        AttributeError,
    ) as error:
        raise ModelFileError(
            f"'{path}' is damaged, or `keras.Model.save_weights` did not write it: "
            f"{error}"
        ) from error
    if lacking := [name for name, _, place in places if place is None]:
        raise ValueError(
            f"'{path}' has no weights of '{model.name}' for {', '.join(lacking)}, so "
            "it is of another net. Nothing was loaded."
        )
    from keras.src.saving import saving_lib

    # Keras notes what fails here, instead of raising it.
    visited, failed, errors = set(), set(), {}
    store = saving_lib.H5IOStore(path, mode="r")
    try:
        for _, layer, place in places:
            saving_lib._load_state(
                layer,
                store,
                None,
                place,
                visited_saveables=visited,
                failed_saveables=failed,
                error_msgs=errors,
            )
    finally:
        store.close()
    if errors:
        (layer, error), *_ = errors.values()
        raise ValueError(f"'{path}' does not fit the layer '{layer.name}': {error}")


def _places(model, group, path=""):
    """Yields `(path, layer, place in the file or None)` for layers with variables."""
    named = {
        _text(part["vars"].attrs.get("name")): part
        for part in group.get("layers", {}).values()
        if "vars" in part
    }
    for layer in model.layers:
        if not layer.variables and not any(
            map(keeps_own_state, layer._flatten_layers())
        ):
            continue
        part, name = named.get(layer.name), path + layer.name
        if graph.inner(layer) is not None and part is not None:
            yield from _places(layer, part, f"{name}/")
        else:
            yield name, layer, None if part is None else part.name.strip("/")


def _text(name):
    return name.decode() if isinstance(name, bytes) else name
