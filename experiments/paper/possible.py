"""Which printed shares of MACs and parameters a pruned CIFAR ResNet-56 can have."""

import functools
import itertools

from experiments.pages.library import Architecture
from experiments.paper import published

AGREE = 0.05  # percentage points: counting the dense layer or not changes 0.01
_SIDES = (32, 16, 8)  # height and width of the images in each stage


@functools.cache
def shares(name):
    """Shares of the initial model that the models of the paper's size have.

    Counts are computed from the shapes of the layers, so nothing needs to be measured.

    Args:
        name: `"cifar10"` or `"cifar100"`.

    Returns:
        dict from the units of each stage to the shares in % by `"macs"` and
        `"parameters"`, for all models with the layers of the paper's smallest one.
    """
    full = Architecture.cifar(56)
    classes = {"cifar10": 10, "cifar100": 100}[name]
    initial = tuple(len(stage) for stage in full.kept)
    whole = _counts(full.widths, initial, classes)
    units = (published.SMALLEST_LAYERS[name] - 2) // 3
    return {
        kept: {
            key: 100 * count / whole[key]
            for key, count in _counts(full.widths, kept, classes).items()
        }
        for kept in itertools.product(*(range(1, count + 1) for count in initial))
        if sum(kept) == units
    }


def impossible(name):
    """The keys of `published.COSTS` that no choice of units has, within `AGREE`.

    Args:
        name: a data set as in `published.TITLES`. ImageNet models are not enumerated,
            so nothing is called impossible for them.
    """
    if name == "imagenet2012":
        return ()
    return tuple(
        key
        for key in ("macs", "parameters")
        if all(
            abs(found[key] - published.COSTS[name][key]) > AGREE
            for found in shares(name).values()
        )
    )


def _counts(widths, kept, classes):
    """MACs and trainable parameters of a pre-activation ResNet without ω."""
    inputs = 16
    macs, parameters = 9 * 3 * inputs * _SIDES[0] ** 2, 9 * 3 * inputs
    for width, units, side in zip(widths, kept, _SIDES, strict=True):
        outputs = 4 * width
        for number in range(units):
            # 1x1, 3x3 and 1x1 convolutions; the first unit also has a projection.
            weights = inputs * width + 9 * width**2 + width * outputs
            weights += inputs * outputs * (number == 0)
            macs += weights * side**2
            # BatchNormalization before each of the three convolutions
            parameters += weights + 2 * (inputs + 2 * width)
            inputs = outputs
    dense = inputs * classes
    return {
        "macs": macs + dense,
        "parameters": parameters + 2 * inputs + dense + classes,
    }
