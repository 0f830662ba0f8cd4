"""Names and nesting of inputs and outputs in the formats of TensorFlow."""

import keyword
import re

import keras

from resprune_tf import graph
from resprune_tf.deploy.registry import FORMATS


def check_outputs(model, formats):
    """Raises a ValueError if a format does not support the nesting of the outputs.

    Args:
        model: a functional `keras.Model`.
        formats: what `check_formats` returned.
    """
    outputs = model._outputs_struct
    groups = outputs.values() if isinstance(outputs, dict) else outputs
    nested = keras.tree.is_nested(outputs) and any(map(keras.tree.is_nested, groups))
    flat = [name for name in formats if FORMATS[name].from_saved_model]
    if nested and flat:
        nesting = [n for n, each in FORMATS.items() if not each.from_saved_model]
        raise ValueError(
            f"The format '{flat[0]}' supports one list or dict of outputs. Received: "
            f"'{model.name}', whose outputs are nested deeper. Export "
            "`keras.Model(model.inputs, model.outputs)`, or use the format "
            f"'{' or '.join(nesting)}'."
        )


def input_names(model):
    """Returns the names of the inputs in the formats of TensorFlow, in order.

    Each name is a Python identifier in ASCII that begins with a letter. Characters that
    TensorFlow does not allow become `_`; a name that begins with one, or is a keyword,
    gets the prefix `arg_`.
    """
    names = []
    for tensor in model.inputs:
        name = re.sub(r"[^A-Za-z0-9_]", "_", tensor.name)
        if not name[0].isalpha() or keyword.iskeyword(name):
            name = f"arg_{name}"
        while name in names:
            name += "_"
        names.append(name)
    return names


def names_in(name, model):
    """Returns the names of the inputs in a file of the format `name`, in order."""
    if FORMATS[name].from_saved_model:
        return input_names(model)
    return [tensor.name for tensor in model.inputs]


def at_inference(model):
    """Returns a model that computes what `predict` does, with `input_names`.

    `keras.Model.export` does not set `training`, so layers that augment images, whose
    default is `training=True`, would augment in the exported file.
    """
    inputs, names = model._inputs_struct, input_names(model)
    given = inputs
    if names != [tensor.name for tensor in model.inputs]:
        renamed = [
            graph.input_like(tensor, name=name)
            for tensor, name in zip(model.inputs, names, strict=True)
        ]
        given = keras.tree.pack_sequence_as(inputs, renamed)
        # The keys of a dict are the old names.
        inputs = renamed if isinstance(inputs, dict) else given
    return keras.Model(inputs, model(given, training=False), name=model.name)
