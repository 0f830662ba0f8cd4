"""Convolutions as matrix products, for several nets in one program."""

import keras
from keras import ops

from resprune_tf import graph


@keras.saving.register_keras_serializable(package="resprune_tf")
class MatmulConv2D(keras.layers.Conv2D):
    """The stock layer, computed as one matrix product: same weights, same results.

    The shifted (and strided) slices of the input that meet the kernel are laid side by
    side and multiplied with the kernel as a matrix; a 1x1 kernel takes one slice.
    Under `jax.vmap` over nets this stays a batched matrix product, where a convolution
    becomes a grouped one, whose weight gradient hardly runs in parallel on a GPU. The
    slices take as much memory as the input times the kernel's places.

    It takes the arguments of the stock layer, of which `groups` and `dilation_rate`
    must be 1, `data_format` `"channels_last"` and `padding` `"valid"` or `"same"`.

    Input shape: `(batch, height, width, channels)`. Images of a size that is unknown
    when the layer is called are left to the stock operation.

    Raises:
        ValueError: for another `groups`, `dilation_rate`, `data_format` or `padding`.

    Reference: Chellapilla et al., High Performance Convolutional Neural Networks for
    Document Processing, 2006.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not _is_supported(self):
            raise ValueError(
                "A convolution as a matrix product needs groups=1, dilation_rate=1, "
                'channels last and padding "valid" or "same". Received: '
                f"groups={self.groups}, dilation_rate={self.dilation_rate}, "
                f"data_format={self.data_format!r}, padding={self.padding!r} "
                f"(layer '{self.name}')."
            )

    def convolution_op(self, inputs, kernel):
        if None in inputs.shape[1:3]:
            return super().convolution_op(inputs, kernel)
        margins, counts = zip(*map(self._along, inputs.shape[1:3], (0, 1)), strict=True)
        if any(map(any, margins)):
            inputs = ops.pad(inputs, ((0, 0), *margins, (0, 0)))
        slices = [
            inputs[:, rows, columns]
            for rows in self._slices(0, counts[0])
            for columns in self._slices(1, counts[1])
        ]
        patches = slices[0] if len(slices) == 1 else ops.concatenate(slices, axis=-1)
        return ops.matmul(patches, ops.reshape(kernel, (-1, self.filters)))

    def _along(self, size, axis):
        """Padding before and after a side of the image, and its number of outputs."""
        length, stride = self.kernel_size[axis], self.strides[axis]
        if self.padding == "valid":
            return (0, 0), (size - length) // stride + 1
        count = -(-size // stride)
        missing = max(0, (count - 1) * stride + length - size)
        return (missing // 2, missing - missing // 2), count

    def _slices(self, axis, count):
        """What of the padded side meets each place of the kernel."""
        stride = self.strides[axis]
        return [
            slice(first, first + (count - 1) * stride + 1, stride)
            for first in range(self.kernel_size[axis])
        ]


def matmul_copy(model):
    """A copy of a functional model whose stock `Conv2D`s are `MatmulConv2D`s.

    Convolutions of other kinds, or with arguments that have no such form, stay.

    Raises:
        TypeError: if the model is not functional.
    """
    graph.check_functional(model, "matmul_copy")

    def clone(operation):
        if type(operation) is keras.layers.Conv2D and _is_supported(operation):
            return MatmulConv2D.from_config(operation.get_config())
        return graph.clone_operation(operation)

    return graph.rebuild(model, clone=clone)


def _is_supported(layer):
    return (
        layer.groups == 1
        and set(layer.dilation_rate) == {1}
        and layer.data_format == "channels_last"
        and layer.padding in ("valid", "same")
    )
