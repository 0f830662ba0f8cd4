"""Descriptions of ResNets. This module imports neither Keras nor TensorFlow.

A stage is a sequence of residual units with the same output shape. A residual unit
computes `x + ω·F(x)`. The paper says "block" for a stage and "layer" or "unit" for a
residual unit.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

CONVOLUTIONS_PER_UNIT = {"bottleneck": 3, "basic": 2}
EXPANSION = {"bottleneck": 4, "basic": 1}
_IMAGENET_UNITS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


@dataclasses.dataclass(frozen=True, order=True)
class UnitId:
    """Position of a residual unit: stage and unit, both counted from 1.

    Removals do not renumber units: unit 5 of a stage stays unit 5 if unit 4 is removed.
    `str()` returns the prefix of the unit's layer names, such as `stage2_unit5`.

    >>> str(UnitId(2, 5))
    'stage2_unit5'
    """

    stage: int
    unit: int

    def __str__(self) -> str:
        return f"stage{self.stage}_unit{self.unit}"

    @classmethod
    def parse(cls, text: str) -> UnitId:
        """Parses a name such as `stage2_unit5`, or a layer name that begins with it.

        Raises:
            ValueError: if `text` does not begin with `stage<number>_unit<number>`.
        """
        match = re.match(r"stage(\d+)_unit(\d+)(?:_|$)", text)
        if not match:
            raise ValueError(
                "Units of the ResNets of this package have names like "
                f"'stage2_unit5'. Received: {text!r}."
            )
        return cls(int(match[1]), int(match[2]))


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The graph of a ResNet, without weights. `build_resnet` makes the model.

    Args:
        kept: for each stage, the numbers of its units, ascending, from 1. An unpruned
            ResNet-56 has `((1, 2, 3, 4, 5, 6),) * 3`.
        widths: for each stage, channels of its inner convolutions. The output of a
            stage has `widths[i]` (basic) or `4 * widths[i]` (bottleneck) channels.
        unit_kind: `"bottleneck"` (1x1, 3x3, 1x1) or `"basic"` (3x3, 3x3).
        activation: `"pre"` (BN-ReLU-conv; He et al. 2016, arXiv:1603.05027) or
            `"post"` (conv-BN-ReLU; He et al. 2015, arXiv:1512.03385).
        stem: `"cifar"` (one 3x3 convolution) or `"imagenet"` (7x7 stride 2, pooling).
        strided_convolution: number of the convolution with the stride in the first unit
            of a stage, from 1. The paper's CIFAR models have the stride in the first
            1x1, its ImageNet models in the 3x3 (the second).
        shortcut: shortcut of units that change the shape: `"projection"` (1x1
            convolution, option B) or `"zero_pad"` (subsampling and zero channels,
            option A).
        importance: whether every removable unit has an `ImportanceScale`.
        num_classes: int, outputs of the last dense layer.
        image_shape: `(height, width, channels)`.

    Raises:
        ValueError: if a value is unknown, or the values contradict each other.

    References: He et al., Deep Residual Learning for Image Recognition,
    arXiv:1512.03385; He et al., Identity Mappings in Deep Residual Networks,
    arXiv:1603.05027.

    >>> model = build_resnet(Architecture.cifar(depth=20, unit_kind="basic"))
    """

    kept: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    unit_kind: str = "bottleneck"
    activation: str = "pre"
    stem: str = "cifar"
    strided_convolution: int = 1
    shortcut: str = "projection"
    importance: bool = True
    num_classes: int = 10
    image_shape: tuple[int, int, int] = (32, 32, 3)

    def __post_init__(self):
        for field, allowed in (
            ("unit_kind", tuple(EXPANSION)),
            ("activation", ("pre", "post")),
            ("stem", ("cifar", "imagenet")),
            ("shortcut", ("projection", "zero_pad")),
        ):
            if getattr(self, field) not in allowed:
                raise ValueError(
                    f"`{field}` must be one of {allowed}. "
                    f"Received: {field}={getattr(self, field)!r}."
                )
        # Lists (from JSON) become tuples, so that equal architectures compare equal.
        object.__setattr__(self, "kept", tuple(tuple(s) for s in self.kept))
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        if len(self.kept) != len(self.widths):
            raise ValueError(
                "`kept` and `widths` must have one entry per stage. "
                f"Received: {len(self.kept)} and {len(self.widths)} stages."
            )
        for stage, units in enumerate(self.kept, start=1):
            if not units or units[0] != 1 or list(units) != sorted(set(units)):
                raise ValueError(
                    "`kept` must list the units of every stage in ascending order, "
                    "without repetition, and include unit 1, which changes the shape. "
                    f"Received: {units} in stage {stage}."
                )
        if not 1 <= self.strided_convolution <= CONVOLUTIONS_PER_UNIT[self.unit_kind]:
            raise ValueError(
                "`strided_convolution` must be from 1 to "
                f"{CONVOLUTIONS_PER_UNIT[self.unit_kind]}, as a {self.unit_kind} unit "
                f"has {CONVOLUTIONS_PER_UNIT[self.unit_kind]} convolutions. "
                f"Received: strided_convolution={self.strided_convolution}."
            )

    @classmethod
    def cifar(cls, depth=56, unit_kind="bottleneck", width=16, **fields):
        """Returns the CIFAR ResNet of `depth` layers, with three stages.

        Args:
            depth: int, 9n+2 for bottleneck units, 6n+2 for basic units.
            unit_kind: `"bottleneck"` or `"basic"`.
            width: inner channels of the first stage; each further stage has twice as
                many. 16 in the literature.
            `**fields`: further arguments of `Architecture`.

        Raises:
            ValueError: if no ResNet of this kind has that depth.
        """
        if unit_kind not in CONVOLUTIONS_PER_UNIT:
            raise ValueError(
                f"`unit_kind` must be one of {tuple(CONVOLUTIONS_PER_UNIT)}. "
                f"Received: unit_kind={unit_kind!r}."
            )
        per_step = 3 * CONVOLUTIONS_PER_UNIT[unit_kind]
        units, rest = divmod(depth - 2, per_step)
        if rest or units < 1:
            lowest = max(1, units - 1)
            near = [per_step * n + 2 for n in range(lowest, lowest + 4)]
            raise ValueError(
                f"A CIFAR ResNet of {unit_kind} units has {per_step}n+2 layers, "
                f"such as {', '.join(map(str, near))}. Received: depth={depth}."
            )
        return cls(
            kept=(tuple(range(1, units + 1)),) * 3,
            widths=(width, 2 * width, 4 * width),
            unit_kind=unit_kind,
            **fields,
        )

    @classmethod
    def imagenet(cls, depth=50, **fields):
        """Returns the ImageNet ResNet of 18, 34, 50, 101 or 152 layers.

        Args:
            depth: int, one of these numbers.
            `**fields`: further arguments of `Architecture`.

        Raises:
            ValueError: if `depth` is not one of these numbers.
        """
        if depth not in _IMAGENET_UNITS:
            raise ValueError(
                f"ImageNet ResNets have {', '.join(map(str, _IMAGENET_UNITS))} layers. "
                f"Received: depth={depth}."
            )
        unit_kind, units = _IMAGENET_UNITS[depth]
        fields = {
            "strided_convolution": 2 if unit_kind == "bottleneck" else 1,
            "num_classes": 1000,
            "image_shape": (224, 224, 3),
            **fields,
        }
        return cls(
            kept=tuple(tuple(range(1, count + 1)) for count in units),
            widths=(64, 128, 256, 512),
            unit_kind=unit_kind,
            stem="imagenet",
            **fields,
        )

    @property
    def units(self) -> tuple[UnitId, ...]:
        """All units, first to last."""
        return tuple(
            UnitId(stage, unit)
            for stage, units in enumerate(self.kept, start=1)
            for unit in units
        )

    @property
    def removable(self) -> tuple[UnitId, ...]:
        """The removable units: all except the first of each stage."""
        return tuple(unit for unit in self.units if unit.unit > 1)

    @property
    def depth(self) -> int:
        """Number of layers as the literature counts them, without projections."""
        return len(self.units) * CONVOLUTIONS_PER_UNIT[self.unit_kind] + 2

    def without(self, units: Any) -> Architecture:
        """Returns this architecture without some of its units.

        Args:
            units: iterable of `UnitId`s or of their names.

        Raises:
            ValueError: if one of them is not a removable unit of this architecture.
        """
        gone = {u if isinstance(u, UnitId) else UnitId.parse(str(u)) for u in units}
        wrong = sorted(gone.difference(self.removable))
        if wrong:
            raise ValueError(
                f"Cannot remove {', '.join(map(str, wrong))}. "
                f"Removable units: {', '.join(map(str, self.removable)) or 'none'}."
            )
        kept = tuple(
            tuple(unit for unit in units if UnitId(stage, unit) not in gone)
            for stage, units in enumerate(self.kept, start=1)
        )
        return dataclasses.replace(self, kept=kept)
