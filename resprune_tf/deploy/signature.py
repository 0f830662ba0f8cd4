"""What a model takes and gives where it is written in a format of TensorFlow."""

import keyword
import re

import keras

from resprune_tf import graph
from resprune_tf.deploy.registry import FORMATS


def check_outputs(model, formats):
    """Raises a ValueError if a format cannot hold the outputs as they are nested.

    Args:
        model: a functional `keras.Model`.
        formats: as from `check_formats`.
    """
    outputs = model._outputs_struct
    groups = outputs.values() if isinstance(outputs, dict) else outputs
    nested = keras.tree.is_nested(outputs) and any(map(keras.tree.is_nested, groups))
    flat = [name for name in formats if FORMATS[name].from_saved_model]
    if nested and flat:
        nesting = [n for n, each in FORMATS.items() if not each.from_saved_model]
        raise ValueError(
            f"Only '{' and '.join(nesting)}' holds outputs that are nested in each "
            f"other; '{flat[0]}' holds one list or dict of them. The outputs of "
            f"'{model.name}' are in groups: export "
            "`keras.Model(model.inputs, model.outputs)`."
        )


def input_names(model):
    """Names of the inputs in the formats of TensorFlow, in order.

    Each is a name of Python's in ASCII that begins with a letter: what TensorFlow
    does not allow becomes `_`, or stands behind `arg_`.
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
    """Names of the inputs in a file of the format `name`, in order."""
    if FORMATS[name].from_saved_model:
        return input_names(model)
    return [tensor.name for tensor in model.inputs]


def at_inference(model):
    """A model that does what `predict` does, with `input_names`.

    `export` says nothing about training, so that layers which augment images, whose
    `call` has `training=True` by default, would go on doing so in the file.
    """
    inputs, names = model._inputs_struct, input_names(model)
    given = inputs
    if names != [tensor.name for tensor in model.inputs]:
        made = [
            graph.entrance(tensor, name=name)
            for tensor, name in zip(model.inputs, names, strict=True)
        ]
        given = keras.tree.pack_sequence_as(inputs, made)
        inputs = made if isinstance(inputs, dict) else given  # keys are the old names
    return keras.Model(inputs, model(given, training=False), name=model.name)
