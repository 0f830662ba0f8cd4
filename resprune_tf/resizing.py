"""Giving a model that leaves sizes open a fixed input shape."""

from resprune_tf import graph
from resprune_tf.cloning import cloning
from resprune_tf.strategy import scope_of


def with_input_shape(model, input_shape, clone=None):
    """A copy of a model whose inputs have the sizes that the model leaves open.

    Models without a fixed input, such as `keras.Input((None, None, 3))`, run at any
    size, so their MACs and latency depend on it. The copy has the same weights and
    the same outputs at that size. Unit names stay, so what is removed from it can be
    removed from `model`.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.
        input_shape: shape without the batch, such as `(224, 224, 3)`; of a model with
            several inputs a list of shapes, in the order of `model.inputs`.
        clone: as for `remove_units`.

    Returns:
        A functional `keras.Model`, not compiled, that shares nothing with `model`.

    Raises:
        ValueError: if a shape does not fit an input.
        CloneError: if a layer cannot be cloned.
        TypeError: if `model` has no graph to read.

    >>> backbone = keras.applications.ResNet50(include_top=False)
    >>> fixed = with_input_shape(backbone, (224, 224, 3))
    """
    whole = graph.as_functional(model, "with_input_shape")
    one = all(size is None or isinstance(size, int) for size in input_shape)
    given = [tuple(shape) for shape in ([input_shape] if one else input_shape)]
    opens = [tuple(tensor.shape[1:]) for tensor in whole.inputs]
    if len(given) != len(opens) or not all(map(_fits, given, opens)):
        raise ValueError(
            "`input_shape` says the sizes that a model leaves open. Received: "
            f"{input_shape} for inputs of the shapes {opens}, without the batch."
        )
    batches = [tensor.shape[0] for tensor in whole.inputs]
    shapes = [(batch, *shape) for batch, shape in zip(batches, given, strict=True)]
    with scope_of(model):
        return graph.rebuild(model, clone=cloning(clone), input_shapes=shapes)


def _fits(shape, opened):
    return len(shape) == len(opened) and all(
        wanted in (None, size) for wanted, size in zip(opened, shape, strict=True)
    )
