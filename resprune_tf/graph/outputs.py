"""What kind of outputs a model has: probabilities, logits, class scores."""

import keras

from resprune_tf import graph

# Functions, layers and operations, in lower case and without underscores.
_SQUASHING = ("softmax", "sparsemax", "sigmoid", "hardsigmoid", "sparsesigmoid")
# Layers and operations that do not change values.
_PASSING = ("Cast", "Flatten", "Identity", "Permute", "Reshape", "Squeeze", "Transpose")


def probabilities(model):
    """Name of the operation that makes a model's first output probabilities, or None.

    Nested models are searched, and operations that only reshape are skipped.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`.
    """
    last, function = _last(model, 0)
    return last.name if function in _SQUASHING else None


def names_of_outputs(model):
    """The names that assign losses and metrics to a model's outputs.

    Args:
        model: as for `probabilities`.
    """
    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, dict) and len(structure) == len(model.outputs):
        return sorted(structure)  # the order in which Keras flattens it
    return list(model.output_names)


def squashing(model, place=0):
    """The function that turns an output into probabilities, or None.

    Args:
        model: as for `probabilities`.
        place: index of the output, from 0.

    Returns:
        The name of the function in lower case, without underscores: `"softmax"`.
    """
    function = _last(model, place)[1]
    return function if function in _SQUASHING else None


def _last(model, place):
    """The operation that computes an output, and the name of its function."""
    tensor = model.outputs[place]
    while True:
        history = tensor._keras_history
        last = history.operation
        if (deeper := graph.inner(last)) is not None:
            tensor = deeper.outputs[history.tensor_index]
        elif _passes(last):
            tensor = graph.node_of(tensor).input_tensors[0]
        else:
            break
    layer = last
    while isinstance(layer, keras.layers.Wrapper):  # such as TimeDistributed
        layer = layer.layer
    kinds = (layer, getattr(layer, "activation", None))
    names = [
        getattr(kind, "__name__", type(kind).__name__).lower().replace("_", "")
        for kind in kinds
    ]
    return last, next((name for name in names if name in _SQUASHING), names[0])


def _passes(operation):
    # Mixed precision models often end with a linear activation in float32.
    linear = keras.activations.linear
    if isinstance(operation, keras.layers.Activation):
        return operation.activation is linear
    return type(operation).__name__ in _PASSING


def decides(model):
    """Whether the model is a classifier: its largest output is the predicted class.

    This is assumed of a model with one output `(images, classes)`, unless it is
    compiled with a loss of Keras for regression or for several labels per image.
    """
    shape = model.outputs[0].shape
    if len(model.outputs) != 1 or len(shape) != 2 or shape[1] in (None, 1):
        return False
    losses = keras.tree.flatten(model.loss) if model.compiled else []
    if not losses or losses[0] is None:
        return True
    loss, name = losses[0], loss_name(losses[0]).lower()
    own = type(loss) if isinstance(loss, keras.losses.Loss) else loss
    known = isinstance(loss, str) or own.__module__.startswith("keras.")
    return not known or "categorical" in name or name == "crossentropy"


def loss_name(loss=None):
    """The name of a loss in tables and records."""
    if loss is None:
        return "cross entropy of logits"
    if isinstance(loss, keras.losses.Loss):
        return loss.name
    return getattr(loss, "__name__", str(loss))
