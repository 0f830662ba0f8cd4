"""A copy of a model that trains faster."""

import keras
from keras import ops
from keras.src.backend import get_keras_mask

from resprune_tf import graph
from resprune_tf.system.precision import check_precision
from resprune_tf.training.scaled_weights import AppliedImportance, scalable, scaled_kind


def fast_copy(model, precision="float32"):
    """Copies a model so that training needs fewer passes over the activations.

    BatchNormalization computes its statistics in one pass, and an ω is applied to the
    weights of the layer before it, if possible (see `ScaledWeights`). Results agree to
    within rounding. 1x1 convolutions with strides and few channels are computed in a
    form that avoids an error of oneDNN. The copy is for training only: `copy_values`
    copies the trained values back to the model.

    Args:
        model: a functional `keras.Model`; it is not changed.
        precision: `"float32"`, or `"bfloat16"` for Keras's mixed policy. Then layers of
            policy float32 compute in bfloat16 and keep float32 variables, except
            layers that prepare the pixels or compute an output. Statistics of
            BatchNormalization are float32. Bfloat16 has the range of float32, so the
            loss needs no scaling. Layers of other policies keep theirs.

    Returns:
        A functional `keras.Model`, not compiled, with a layer of the same name and
        variables for every layer of `model`.

    Raises:
        ValueError: if the precision is unknown.
        TypeError: if `model` is not functional.

    Reference: Micikevicius et al., Mixed Precision Training, arXiv:1710.03740.
    """
    check_precision(precision)
    whole = graph.as_functional(model, "fast_copy")
    outputs = {id(tensor._keras_history.operation) for tensor in model.outputs}
    scales = scalable(whole)

    def is_reduced(layer):
        exact = isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization))
        is_float32 = layer.dtype_policy.name == "float32"
        reduced = precision == "bfloat16" and is_float32 and not exact
        return reduced and id(layer) not in outputs

    def config_of(layer):
        config = layer.get_config()
        if is_reduced(layer):
            config["dtype"] = "mixed_bfloat16"
        return config

    applied = {}
    for scale in scales.values():
        copy = AppliedImportance.from_config(config_of(scale))
        copy.build(scale.input.shape)  # the layer before it uses its ω
        applied[id(scale)] = copy

    def clone(operation):
        if id(operation) in applied:
            return applied[id(operation)]
        if not isinstance(operation, keras.layers.Layer):
            return graph.clone_operation(operation)
        kind = type(operation)
        if has_one_pass_form(operation):
            kind = OnePassBatchNormalization
        elif is_narrow_subsampling(operation):
            kind = SubsampledConv2D
        if id(operation) not in scales:
            if kind is type(operation):
                reduced = "mixed_bfloat16" if is_reduced(operation) else None
                return graph.clone_operation(operation, reduced)
            return kind.from_config(config_of(operation))
        scaled = scaled_kind(kind).from_config(config_of(operation))
        scaled.scale_by(applied[id(scales[id(operation)])])
        return scaled

    return graph.rebuild(model, clone=clone)


def exact_copy(model):
    """Copies a model for training with its own layers, unlike `fast_copy`.

    Only `SubsampledConv2D` is used as there.

    Args:
        model: a functional `keras.Model`; it is not changed.
    """

    def clone(operation):
        if is_narrow_subsampling(operation):
            return SubsampledConv2D.from_config(operation.get_config())
        return graph.clone_operation(operation)

    return graph.rebuild(model, clone=clone)


@keras.saving.register_keras_serializable(package="resprune_tf")
class OnePassBatchNormalization(keras.layers.BatchNormalization):
    """Keras's BatchNormalization, faster in training: same weights, same results.

    Keras's layer reads its input once for the mean and once for the variance, and in
    mixed precision computes entirely in float32. Here both statistics come from one
    pass, either by TensorFlow's fused operation or by plain operations that XLA fuses.
    The variance is the mean of the squares minus the square of the mean. This
    difference loses digits if a channel's mean is many times its standard deviation
    (relative error about 2e-5 at 15 times, in float32). Statistics are always float32.

    Use it through `fast_copy`. It takes the arguments of Keras's layer; `axis` must be
    the last and `synchronized` False.

    Input shape: any of rank >= 2, channels last, without a mask.

    References: Ioffe and Szegedy, arXiv:1502.03167;
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/FusedBatchNormV3
    """

    def call(self, inputs, training=None, mask=None):
        if training and self.trainable:
            outputs, mean, variance = self._normalize_batch(inputs)
            for moving, batch in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                batch = ops.cast(batch, moving.dtype)
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
            return outputs
        return self._scale_and_shift(inputs, self.moving_mean, self.moving_variance)

    def _normalize_batch(self, inputs):
        """Outputs normalized by the batch statistics, with mean and variance."""
        if _fusable(inputs):
            return self._fused(inputs)
        wide = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axes = list(range(len(inputs.shape) - 1))
        mean = ops.mean(wide, axes)
        variance = ops.mean(ops.square(wide), axes) - ops.square(mean)
        variance = ops.maximum(variance, 0)  # rounding may make it negative
        return self._scale_and_shift(inputs, mean, variance), mean, variance

    def _scale_and_shift(self, inputs, mean, variance):
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        mean, variance = ops.cast(mean, dtype), ops.cast(variance, dtype)
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * ops.cast(self.gamma, dtype)
        shift = -mean * scale
        if self.center:
            shift = shift + ops.cast(self.beta, dtype)
        return ops.cast(ops.cast(inputs, dtype) * scale + shift, inputs.dtype)

    def _fused(self, inputs):
        import tensorflow as tf

        channels = inputs.shape[-1:]
        with tf.name_scope(self.name):
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=_float32(self.gamma if self.scale else tf.ones(channels)),
                offset=_float32(self.beta if self.center else tf.zeros(channels)),
                mean=tf.zeros([0]),
                variance=tf.zeros([0]),
                epsilon=self.epsilon,
                data_format="NHWC",
                is_training=True,
            )
        # The operation returns the unbiased estimate of the variance; Keras's layer
        # uses the variance of the batch.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), "float32")
        return outputs, mean, variance * (count - 1) / count


def _float32(value):
    return ops.cast(ops.convert_to_tensor(value), "float32")


def _fusable(inputs):
    return (
        keras.backend.backend() == "tensorflow"
        and len(inputs.shape) == 4
        and keras.backend.standardize_dtype(inputs.dtype) != "float64"
    )


def has_one_pass_form(layer):
    """Whether `OnePassBatchNormalization` can replace a layer."""
    return (
        type(layer) is keras.layers.BatchNormalization
        and not layer.synchronized
        and not getattr(layer, "renorm", False)
        and get_keras_mask(layer.output) is None
        and layer.axis in (-1, len(layer.output.shape) - 1)
    )


# Channels of a block of oneDNN with AVX-512; 8 with AVX2.
_BLOCK = 16


@keras.saving.register_keras_serializable(package="resprune_tf")
class SubsampledConv2D(keras.layers.Conv2D):
    """A 1x1 convolution with strides: takes every n-th pixel, then convolves.

    oneDNN 3.7, which TensorFlow 2.21 contains, returns a wrong gradient of the kernel
    of such a convolution if the input has fewer channels than a block of oneDNN. The
    gradient even depends on how its threads are scheduled, and the process may crash.
    Convolutions without strides are not affected, nor are `Conv1D` and `Conv3D`.
    Weights and results are those of Keras's layer.

    Use it through `fast_copy` or `exact_copy`. It takes the arguments of Keras's layer;
    the kernel must be 1x1, and the channels last.

    Input shape: `(batch, height, width, channels)`.
    """

    def convolution_op(self, inputs, kernel):
        rows, columns = self.strides
        return ops.conv(inputs[:, ::rows, ::columns], kernel)


def is_narrow_subsampling(layer):
    """Whether `SubsampledConv2D` should replace a layer."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and max(layer.strides) > 1
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.quantization_mode is None
        and layer.input.shape[-1] < _BLOCK
    )
