"""Copies weights from a model, or a file of weights, to a model, by layer names.

Keras's own `load_weights` matches layers by their position among the layers of their
class. If the shapes happen to agree, it loads the file of an unpruned model into a
pruned one with wrong weights and without an error.
"""

from __future__ import annotations

import os

import keras

from resprune_tf import graph
from resprune_tf.graph.cloning import (
    copy_state,
    keeps_own_state,
    take_over_unsaved,
)
from resprune_tf.system.model_files import ModelFileError, check_layer

# Which of these h5py raises depends on which bytes of a file are damaged.
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


def pairs(source, target):
    """Pairs layers of the same name in two models, nested models included.

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
    """Copies the state of layers from one model to the layers of the same names.

    Layers that only one of the models has are not changed.

    Args:
        source, target: functional models, such as a model and the result of
            `remove_units` or `fast_copy`.

    Raises:
        CloneError: if layers of the same name have variables of different shapes.
    """
    for old, new in pairs(source, target):
        copy_state(old, new)


def copy_unsaved(source, target):
    """Sets what files do not record (`take_over_unsaved`) like in another model.

    Args:
        source, target: models whose layers of the same names are the same.
    """
    for old, new in pairs(source, target):
        take_over_unsaved(old, new)


def copy_unsaved_by_place(model, loaded):
    """Sets what files do not record like in the model that was saved.

    Args:
        model: the functional `keras.Model` that was saved, or one that was built like
            it. Its layers may have other names, because Keras numbers them.
        loaded: the functional `keras.Model` from its file or configuration; changed.

    Returns:
        List of texts, one for each setting that `loaded` had not.
    """
    # Layers that are attached to a model, but are not part of its graph, are not in
    # the file.
    both = zip(model.operations, loaded.operations, strict=True)
    return [
        f"operation {place}, {change}"
        for place, (mine, theirs) in enumerate(both)
        for change in take_over_unsaved(mine, theirs)
    ]


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads the weights of a model's layers from a file, by the names of the layers.

    The file may come from the unpruned model: layers that `model` does not have are
    ignored.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; its weights are
            set. If the file lacks a layer, nothing is changed.
        path: path of a `.weights.h5` file, written by `keras.Model.save_weights`.

    Raises:
        ValueError: if the file is not a `.weights.h5` file, is damaged, lacks a layer
            of `model`, or contains weights of other shapes or of more memory than the
            layer needs.
        FileNotFoundError: if the file does not exist.
        TypeError: if `model` is not functional.

    >>> smaller = remove_units(model, "stage1_unit3")
    >>> load_weights(smaller, "unpruned.weights.h5")
    """
    import h5py

    graph.check_functional(model, "load_weights")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"`path` must name a `.weights.h5` file. There is no file '{path}'."
        )
    if not str(path).endswith(".weights.h5"):
        raise ValueError(
            "`path` must name a file written by `keras.Model.save_weights`, which ends "
            f"in `.weights.h5`. Received: '{path}'."
        )
    try:
        with h5py.File(path) as file:
            places = list(_places(model, file))
            for _, layer, place in places:
                if place is not None:
                    check_layer(path, file[place], layer)
    except ModelFileError:
        raise
    except _DAMAGED as error:
        raise ModelFileError(
            f"'{path}' is damaged, or was not written by `keras.Model.save_weights`: "
            f"{error}"
        ) from error
    if lacking := [name for name, _, place in places if place is None]:
        raise ValueError(
            f"'{path}' has no weights for these layers of '{model.name}': "
            f"{', '.join(lacking)}. It belongs to another model. Nothing was loaded."
        )
    from keras.src.saving import saving_lib

    # Keras collects the errors instead of raising them.
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
        raise ValueError(
            f"'{path}' does not fit the layer '{layer.name}' of '{model.name}': {error}"
        )


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
