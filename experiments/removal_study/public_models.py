"""The public CIFAR-10 models of the study, built in Keras from arrays of weights.

They consist of the basic units of He et al., arXiv:1512.03385, section 4.2: batch
normalization after each convolution, ReLU after the first convolution and after the
addition, and shortcuts without weights.
"""

import pathlib

import keras
import numpy as np
from keras import layers, ops

# Published accuracy on the 10,000 test images.
PUBLISHED = {"resnet20": 0.9173, "resnet32": 0.9263, "resnet44": 0.9310}
_UNITS = {"resnet20": 3, "resnet32": 5, "resnet44": 7}  # per stage
_WIDTHS = 16, 32, 64
_MEAN = np.array([0.485, 0.456, 0.406])
_STD = np.array([0.229, 0.224, 0.225])
# Axes of Keras's kernels in those of PyTorch.
_AXES = {
    layers.Conv2D: (2, 3, 1, 0),
    layers.DepthwiseConv2D: (2, 3, 0, 1),
    layers.Dense: (1, 0),
}


def read_model(name, folder):
    """A model with its published weights.

    Args:
        name: one of `PUBLISHED`.
        folder: folder with `NAME.npz`, arrays with the published names, such as
            `layer2.0.conv1.weight`, `(out, in, 3, 3)`.

    Returns:
        A functional `keras.Model` from pixels `(images, 32, 32, 3)`, 0 to 255, to
        logits `(images, 10)`.

    Raises:
        ValueError: if the file is missing or has other arrays.
    """
    path = pathlib.Path(folder) / f"{name}.npz"
    if not path.is_file():
        raise ValueError(
            f"There is no file '{path}'. Give the folder that contains {name}.npz with "
            "--pretrained=DIR."
        )
    model = build_resnet(name, _UNITS[name])
    with np.load(path) as arrays:
        load_weights(model, dict(arrays), path, _published)
    return model


def build_resnet(name, units, widths=_WIDTHS, size=32):
    """A model of three stages with random weights.

    Args:
        name: name of the model.
        units: number of units per stage.
        widths: channels of each stage, multiples of the first.
        size: height and width of the images.
    """
    pixels = keras.Input((size, size, 3), name="pixels")
    x = layers.Normalization(
        mean=255 * _MEAN, variance=(255 * _STD) ** 2, name="normalize"
    )(pixels)
    x = layers.ReLU(name="relu")(_convolution(x, widths[0], 1, "conv1", "bn1"))
    for stage, width in enumerate(widths, 1):
        for unit in range(1, units + 1):
            stride = 2 if stage > 1 and unit == 1 else 1
            x = _unit(x, width, stride, f"stage{stage}_unit{unit}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(pixels, layers.Dense(10, name="linear")(x), name=name)


def _unit(x, width, stride, name):
    y = _convolution(x, width, stride, f"{name}_conv1", f"{name}_bn1")
    y = layers.ReLU(name=f"{name}_relu1")(y)
    y = _convolution(y, width, 1, f"{name}_conv2", f"{name}_bn2")
    # The published models subsample the shortcut and pad its channels with zeros.
    if stride > 1:
        x = layers.MaxPooling2D(1, stride, name=f"{name}_pixels")(x)
        more = width - x.shape[-1]
        x = ops.pad(x, [(0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)])
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _convolution(x, width, stride, name, norm):
    # PyTorch pads all sides; Keras's "same" would pad the bottom and the right only.
    if stride > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(width, 3, stride, padding, use_bias=False, name=name)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(x)


def load_weights(model, arrays, path, published=lambda name: name):
    """Sets the weights of a model from arrays with the names and axes of PyTorch.

    Args:
        model: `keras.Model`, which is changed.
        arrays: dict from name, such as `"conv1.weight"`, to array.
        path: path of their file, for error messages.
        published: function from the name of a layer to its name in `arrays`.

    Raises:
        ValueError: if an array is missing, has another shape, or is not used.
    """
    left = {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}
    for layer in model.layers:
        if isinstance(layer, layers.Normalization) or not layer.weights:
            continue
        parts = ("weight", "bias", "running_mean", "running_var")[: len(layer.weights)]
        found = [left.pop(f"{published(layer.name)}.{part}", None) for part in parts]
        axes = _AXES.get(type(layer), ())
        if axes and np.ndim(found[0]) == len(axes):
            found[0] = found[0].transpose(axes)
        expected = [tuple(weight.shape) for weight in layer.weights]
        if [getattr(array, "shape", None) for array in found] != expected:
            raise ValueError(
                f"'{path}' has no arrays of the shapes {expected} for {layer.name}."
            )
        layer.set_weights(found)
    if left:
        raise ValueError(f"'{path}' has arrays that are not used: {', '.join(left)}.")


def _published(name):
    """The published name of a layer: `layer2.0.conv1` for `stage2_unit1_conv1`."""
    if not name.startswith("stage"):
        return name
    stage, unit, part = name.split("_")
    return f"layer{stage[5:]}.{int(unit[4:]) - 1}.{part}"
