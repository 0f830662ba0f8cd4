"""Layers whose weights can take over a factor of their output."""

from keras import activations, layers

# The exact classes: a subclass may compute something else with the same weights.
_KERNELS_BY_FILTER = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
TRANSPOSE = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def absorbs(layer):
    """Whether scaling the weights of a layer scales its output alike.

    Args:
        layer: any layer or operation.

    Returns:
        True for a BatchNormalization, and for a convolution or dense layer without an
        activation whose kernel is one variable: `c * (K x + b) = (c K) x + c b`.
    """
    if type(layer) is layers.BatchNormalization:
        return True
    return (
        type(layer) in (*_KERNELS_BY_FILTER, *DEPTHWISE, *TRANSPOSE)
        and layer.activation is activations.linear
        # Their kernels are computed from other variables.
        and layer.quantization_mode is None
        and not getattr(layer, "lora_enabled", False)
    )
