"""Residual networks as functional Keras models, built from an `Architecture`.

Every layer is named after its position (`stage2_unit5_conv1`), so layers of models of
different depth correspond by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from resprune_tf.nets.architecture import (
    CONVOLUTIONS_PER_UNIT,
    EXPANSION,
    Architecture,
    UnitId,
)
from resprune_tf.nets.importance import SUFFIX, ImportanceScale


def build_resnet(
    architecture: Architecture,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    importance_initializer: Any = None,
    importance_l1: float = 0.0,
    dtype: Any = None,
) -> keras.Model:
    """Builds the model of an architecture, with random weights.

    Initialisation follows the Torch code on which the paper is based: convolution
    kernels are normal with the standard deviation sqrt(2 / fan_out);
    BatchNormalization has momentum 0.9 and epsilon 1e-5.

    Args:
        architecture: an `Architecture`.
        mean, std: mean and standard deviation of each channel's pixels. If both are
            given, the model takes raw pixels (0 to 255) and normalises them.
        importance_initializer, importance_l1: arguments of `ImportanceScale`.
        dtype: Keras dtype policy of the layers, such as `"mixed_bfloat16"`; the
            normalisation and the logits are always float32.

    Returns:
        A `keras.Model` from `image`, float32 `(batch, height, width, channels)`, to
        `logits`, float32 `(batch, num_classes)`.

    Raises:
        ValueError: if only one of `mean` and `std` is given.

    >>> model = build_resnet(Architecture.cifar(depth=20, unit_kind="basic"))
    """
    if (mean is None) != (std is None):
        raise ValueError(
            "`mean` and `std` must be given together. "
            f"Received: mean={mean}, std={std}."
        )
    build = _Builder(architecture, importance_initializer, importance_l1, dtype)
    image = keras.Input(architecture.image_shape, name="image")
    x = image
    if mean is not None:
        mean, std = (list(map(float, v)) for v in (mean, std))
        scale = [1 / s for s in std]
        if keras.config.image_data_format() == "channels_first":
            scale = [[scale]]  # Keras then moves the axis of a flat list to the front
        x = layers.Rescaling(
            scale,
            [-m / s for m, s in zip(mean, std, strict=True)],
            dtype="float32",
            name="normalize",
        )(x)
    x = build.stem(x)
    for unit in architecture.units:
        x = build.unit(x, unit)
    if architecture.activation == "pre":
        x = build.relu(build.norm(x, "final_bn"), "final_relu")
    x = layers.GlobalAveragePooling2D(_FORMAT, dtype=dtype, name="pool")(x)
    logits = layers.Dense(
        architecture.num_classes,
        # U(-1/sqrt(n), 1/sqrt(n)), the default of Torch's linear layer.
        kernel_initializer=keras.initializers.VarianceScaling(
            1 / 3, "fan_in", "uniform"
        ),
        dtype="float32",
        name="logits",
    )(x)
    return keras.Model(image, logits, name=f"resnet{architecture.depth}")


def resnet56(num_classes: int = 10, **kwargs: Any) -> keras.Model:
    """Builds the paper's CIFAR ResNet-56: 6 pre-activation bottleneck units per stage.

    Args:
        num_classes: 10 or 100 for CIFAR.
        `**kwargs`: as for `build_resnet`.

    Returns:
        A `keras.Model` from images `(batch, 32, 32, 3)` to logits.

    >>> model = resnet56(num_classes=100)
    """
    return build_resnet(Architecture.cifar(56, num_classes=num_classes), **kwargs)


def resnet50(num_classes: int = 1000, **kwargs: Any) -> keras.Model:
    """Builds the paper's ImageNet ResNet-50: pre-activation, stride in the 3x3.

    Args:
        num_classes: outputs of the last layer.
        `**kwargs`: as for `build_resnet`.

    Returns:
        A `keras.Model` from images `(batch, 224, 224, 3)` to logits.

    >>> model = resnet50()
    """
    return build_resnet(Architecture.imagenet(50, num_classes=num_classes), **kwargs)


# The models do not depend on Keras's global `image_data_format`.
_FORMAT = "channels_last"


class _Builder:
    """Applies layers with the settings of one architecture."""

    def __init__(self, architecture, importance_initializer, importance_l1, dtype):
        self.net = architecture
        self.importance_initializer = importance_initializer
        self.importance_l1 = importance_l1
        self.dtype = dtype

    def conv(self, x, filters, kernel_size, strides, name):
        padding = "same"
        if strides > 1 and kernel_size > 1:
            # "same" would pad one side only; the paper's framework pads both sides.
            x = layers.ZeroPadding2D(
                kernel_size // 2, _FORMAT, dtype=self.dtype, name=f"{name}_pad"
            )(x)
            padding = "valid"
        return layers.Conv2D(
            filters,
            kernel_size,
            strides,
            padding,
            _FORMAT,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            dtype=self.dtype,
            name=name,
        )(x)

    def norm(self, x, name):
        return layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=name
        )(x)

    def relu(self, x, name):
        return layers.ReLU(dtype=self.dtype, name=name)(x)

    def stem(self, x):
        if self.net.stem == "cifar":
            x = self.conv(x, self.net.widths[0], 3, 1, "stem_conv")
            if self.net.activation == "pre":
                return x
            return self.relu(self.norm(x, "stem_bn"), "stem_relu")
        x = self.conv(x, self.net.widths[0], 7, 2, "stem_conv")
        x = self.relu(self.norm(x, "stem_bn"), "stem_relu")
        # Padding by 0 does not change the maximum, as nothing is below 0 after ReLU.
        x = layers.ZeroPadding2D(1, _FORMAT, dtype=self.dtype, name="stem_pool_pad")(x)
        return layers.MaxPooling2D(
            3, 2, data_format=_FORMAT, dtype=self.dtype, name="stem_pool"
        )(x)

    def unit(self, x, unit):
        """`x + ω·F(x)`, or `shortcut(x) + F(x)` for the first unit of a stage."""
        width = self.net.widths[unit.stage - 1]
        first = unit.unit == 1
        strides = 2 if first and unit.stage > 1 else 1
        filters = width * EXPANSION[self.net.unit_kind]
        changes_shape = strides > 1 or x.shape[-1] != filters
        name = str(unit)
        if self.net.activation == "pre":
            # A unit that changes the shape normalises the input of both paths.
            pre = self._preactivated(x, unit)
            branch = self._branch(pre, width, strides, name)
            x = self._shortcut(pre, filters, strides, name) if changes_shape else x
        else:
            branch = self._branch(x, width, strides, name)
            x = self._shortcut(x, filters, strides, name) if changes_shape else x
        if self.net.importance and not first:
            branch = ImportanceScale(
                self.importance_initializer,
                self.importance_l1,
                dtype=self.dtype,
                name=name + SUFFIX,
            )(branch)
        x = layers.Add(dtype=self.dtype, name=f"{name}_add")([x, branch])
        return x if self.net.activation == "pre" else self.relu(x, f"{name}_out")

    def _preactivated(self, x, unit):
        if self.net.stem == "imagenet" and unit == UnitId(1, 1):
            return x  # the ImageNet stem ends with BatchNormalization and ReLU
        return self.relu(self.norm(x, f"{unit}_bn1"), f"{unit}_relu1")

    def _branch(self, x, width, strides, name):
        """The branch F from its first convolution on, without ω."""
        count = CONVOLUTIONS_PER_UNIT[self.net.unit_kind]
        for index in range(1, count + 1):
            if self.net.activation == "pre" and index > 1:
                x = self.norm(x, f"{name}_bn{index}")
                x = self.relu(x, f"{name}_relu{index}")
            bottleneck = self.net.unit_kind == "bottleneck"
            x = self.conv(
                x,
                width * (EXPANSION[self.net.unit_kind] if index == count else 1),
                1 if bottleneck and index != 2 else 3,
                strides if index == self.net.strided_convolution else 1,
                f"{name}_conv{index}",
            )
            if self.net.activation == "post":
                x = self.norm(x, f"{name}_bn{index}")
                if index < count:
                    x = self.relu(x, f"{name}_relu{index}")
        return x

    def _shortcut(self, x, filters, strides, name):
        if self.net.shortcut == "projection":
            x = self.conv(x, filters, 1, strides, f"{name}_proj_conv")
            post = self.net.activation == "post"
            return self.norm(x, f"{name}_proj_bn") if post else x
        # Option A of He et al.: every second pixel; the additional channels are zero.
        if strides > 1:
            x = layers.AveragePooling2D(
                1,
                strides,
                data_format=_FORMAT,
                dtype=self.dtype,
                name=f"{name}_subsample",
            )(x)
        extra = filters - x.shape[-1]
        return keras.ops.pad(x, [(0, 0)] * 3 + [(extra // 2, extra - extra // 2)])
