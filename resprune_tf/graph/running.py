"""Runs a model on a few batches."""

import math

import keras

from resprune_tf.graph.functional import inner, nodes

_MOST = 2**30  # bytes
# Bytes of the outputs of all layers for a batch. A compiled model frees most of them
# while it runs. ResNet-50 stays below for 256 images of 224x224.
_LARGEST_BATCH = 2**36


def run(model, inputs, layers_of=None):
    """The outputs of a functional model for one batch, in inference mode.

    On TensorFlow, compiling a model takes longer than a few small batches. But a model
    that is not compiled keeps the outputs of all its layers until the last layer has
    run: for ResNet-50, 150 MB an image. So the model is compiled, once, if these
    outputs would take more than 1 GiB. On other backends it is always compiled.

    Args:
        model: a functional `keras.Model`.
        inputs: a batch of its inputs, as for `predict_on_batch`.
        layers_of: another functional model with the same inputs, if `model` consists of
            one layer that runs those of that model.

    Returns:
        Its outputs, as tensors or arrays.
    """
    if keras.backend.backend() == "tensorflow":
        if layer_output_bytes(layers_of or model, inputs) <= _MOST:
            return model(as_tensors(inputs), training=False)
        xla, model.jit_compile = model.jit_compile, False  # XLA compiles for longer
        try:
            return model.predict_on_batch(inputs)
        finally:
            model.jit_compile = xla
    return model.predict_on_batch(inputs)


def as_tensors(batch):
    """A batch of arrays as tensors, for a call of a model.

    Keras accepts a tensor, but warns of an array, if the only input of the model is in
    a list.

    Args:
        batch: arrays, alone or nested in lists and dicts.
    """
    return keras.tree.map_structure(keras.ops.convert_to_tensor, batch)


def fitting_batch(model, inputs, size, least=1, gradients=False) -> int:
    """The size of a batch, halved until the outputs of all layers fit into memory.

    The limit is the same on every machine, because statistics depend on the batches.
    The batch keeps its size if the model leaves sizes of its layers open.

    Args:
        model: a functional `keras.Model`.
        inputs: any batch of its inputs, or all of them.
        size: int, examples in the largest batch.
        least: int, examples in a batch that is known to fit, such as one of a training.
        gradients: whether gradients are computed, for which all outputs are kept.

    Returns:
        int, at most `size` and, unless `size` is smaller, at least `least`.
    """
    if not _sizes_known(model):
        return size
    one = keras.tree.map_structure(lambda values: values[:1], inputs)
    example = layer_output_bytes(model, one)
    most = _LARGEST_BATCH // 8 if gradients else _LARGEST_BATCH
    while size > least and size * example > most:
        size = max(least, size // 2)
    return size


def layer_output_bytes(model, inputs) -> int:
    """Memory of the outputs of all layers for one batch, if each value has 4 bytes.

    Args:
        model: a functional `keras.Model`.
        inputs: a batch of its inputs. A size that the model leaves open is taken to be
            the largest size of the inputs, batch aside.
    """
    shapes = list(map(_shape, keras.tree.flatten(inputs)))
    unknown = max((size for shape in shapes for size in shape[1:]), default=1)
    return 4 * shapes[0][0] * _values(model, unknown)


def _shape(values):
    """The shape of an array or tensor; of a ragged one, with its longest rows."""
    if hasattr(values, "bounding_shape"):
        return tuple(map(int, values.bounding_shape()))
    return tuple(values.shape)


def _sizes_known(model):
    """Whether the shapes of all layers' outputs are known, batch aside."""
    for node in nodes(model):
        if (deeper := inner(node.operation)) is not None and not _sizes_known(deeper):
            return False
        if any(None in tensor.shape[1:] for tensor in node.outputs):
            return False
    return True


def _values(model, unknown):
    """Number of values that the layers output for one example."""
    total = 0
    for node in nodes(model):
        if (deeper := inner(node.operation)) is not None:
            total += _values(deeper, unknown)
        else:
            total += sum(
                math.prod(
                    unknown if size is None else size for size in tensor.shape[1:]
                )
                for tensor in node.outputs
            )
    return total
