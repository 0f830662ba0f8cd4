"""Stable names of units, also if several units share one merge layer.

Later calls of a merge are named `sum#1`, `sum#2`, ... in order of computation. Removing
one of them would renumber the others. So each remaining call gets a label first: an
`Identity` layer on its shortcut, whose name contains the number and is preserved in
copies and files. The merge itself keeps its name and may have weights.
"""

import collections
import re

import keras

from resprune_tf import graph


def call_names(found):
    """Names of units, numbered `#1`, `#2`, ... if one merge is called several times.

    Args:
        found: list of `(node of the merge, path, ...)` in order of computation.

    Returns:
        dict from `id(node)` to name; names are unique.
    """
    names, taken, highest = {}, set(), collections.Counter()
    labelled = [(node, path, _call_number(node)) for node, path, *_ in found]
    # Labelled calls keep their numbers; the others get the next free ones.
    for node, path, number in sorted(labelled, key=lambda each: each[2] is None):
        base = "/".join((*path, _base(node.operation)))
        name = f"{base}#{number}" if number else base
        highest[base] = max(number or 0, highest[base])
        while name in taken:
            highest[base] += 1
            name = f"{base}#{highest[base]}"
        taken.add(name)
        names[id(node)] = name
    return names


def call_labels(units):
    """Labels for the later calls of merges, as argument `insert` of `graph.rebuild`.

    Args:
        units: all `Unit`s of a model.
    """
    insert = {}
    for unit in units:
        base, own = _base(unit.merge.operation), unit.name.rpartition("/")[2]
        if own != base and _call_number(unit.merge) is None:
            number = own[len(base) + 1 :]
            insert[id(unit.merge), id(unit.shortcut)] = keras.layers.Identity(
                name=f"{base}.{number}_call", dtype=unit.shortcut.dtype
            )
    return insert


def is_label(operation):
    """Whether an operation is a label as `call_labels` creates it."""
    return type(operation) is keras.layers.Identity and bool(
        _LABEL.fullmatch(operation.name)
    )


def before_identities(tensor):
    """The tensor that plain `Identity` layers, such as labels, pass on unchanged."""
    node = graph.node_of(tensor)
    while type(node.operation) is keras.layers.Identity:
        if len(node.outputs) > 1 or node.input_tensors[0].dtype != tensor.dtype:
            break
        tensor = node.input_tensors[0]
        node = graph.node_of(tensor)
    return tensor


_LABEL = re.compile(r"(.+)\.([1-9]\d*)_call", re.DOTALL)


def _base(operation):
    return operation.name.removesuffix("_add")


def _label_number(node, tensor):
    """The number on the label that computed an input of a merge, or None."""
    operation = tensor._keras_history.operation
    if not is_label(operation):
        return None
    match = _LABEL.fullmatch(operation.name)
    return int(match[2]) if match[1] == _base(node.operation) else None


def _call_number(node):
    """The number on the label of a call, or None."""
    numbers = (_label_number(node, tensor) for tensor in node.input_tensors)
    return next((number for number in numbers if number is not None), None)
