"""Names of units that stay when others go, also of several calls of one merge.

Later calls of a merge, `sum#1` and `sum#2`, are counted in order of computation. Once
one of them has been removed the count would move, so the others are labelled first:
`Identity` layers that lead their shortcuts to them hold the numbers in their names,
which stay in copies and files. The merge itself keeps its name and may have weights.
"""

import collections
import re

import keras

from resprune_tf import graph


def call_names(found):
    """Names of units, told apart by `#1`, `#2`, ... where one merge is called again.

    Args:
        found: list of `(node of the merge, path, ...)` in order of computation.

    Returns:
        dict from `id(node)` to name, each of them once.
    """
    names, taken, highest = {}, set(), collections.Counter()
    labelled = [(node, path, _number(node)) for node, path, *_ in found]
    # What has a label keeps its number, the others are counted on.
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
    """Labels for the later calls of merges, as `insert` of `graph.rebuild`.

    Args:
        units: all `Unit`s of a model.
    """
    insert = {}
    for unit in units:
        base, own = _base(unit.merge.operation), unit.name.rpartition("/")[2]
        if own != base and _number(unit.merge) is None:
            number = own[len(base) + 1 :]
            insert[id(unit.merge), id(unit.shortcut)] = keras.layers.Identity(
                name=f"{base}.{number}_call", dtype=unit.shortcut.dtype
            )
    return insert


def is_label(operation):
    """Whether an operation is there for its name alone, which `call_names` reads."""
    return type(operation) is keras.layers.Identity and bool(
        _LABEL.fullmatch(operation.name)
    )


def before_label(node, tensor):
    """The tensor that a label of this node was given; another input as it is."""
    if not _labels(node, tensor):
        return tensor
    return graph.node_of(tensor).input_tensors[0]


_LABEL = re.compile(r"(.+)\.([1-9]\d*)_call", re.DOTALL)


def _base(operation):
    return operation.name.removesuffix("_add")


def _labels(node, tensor):
    operation = tensor._keras_history.operation
    if not is_label(operation):
        return None
    match = _LABEL.fullmatch(operation.name)
    return int(match[2]) if match[1] == _base(node.operation) else None


def _number(node):
    """The number on the label of a call, or None."""
    numbers = (_labels(node, tensor) for tensor in node.input_tensors)
    return next((number for number in numbers if number is not None), None)
