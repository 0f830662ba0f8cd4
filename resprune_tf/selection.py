"""Which units to remove next, and when to stop. Pure Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

_MEASURES = ("layers", "units", "macs", "parameters")


@dataclasses.dataclass(frozen=True)
class Target:
    """The size at which removal stops. Of several limits all must hold.

    Args:
        layers: at most so many layers, as in "ResNet-32".
        units: at most so many residual units left, the fixed ones included.
        macs, parameters: at most so many; a value below 1 is a fraction of the
            initial net's.

    Raises:
        ValueError: if no limit is given, or one is not positive.
    """

    layers: int | None = None
    units: int | None = None
    macs: float | None = None
    parameters: float | None = None

    def __post_init__(self):
        if not self.limits:
            raise ValueError(
                f"A target needs at least one limit of {', '.join(_MEASURES)}."
            )
        for name, limit in self.limits.items():
            if not limit > 0:
                raise ValueError(
                    f"A target must be positive. Received: {name}={limit}."
                )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given."""
        return {k: v for k in _MEASURES if (v := getattr(self, k)) is not None}

    def resolve(self, initial: Mapping, smallest: Mapping) -> Target:
        """The target in absolute numbers, once it is known to be reachable.

        Args:
            initial: layers, units, macs and parameters of the initial net.
            smallest: those of the net without all units that may go.

        Raises:
            ValueError: if the initial net meets the target already, or no removal
                can meet it; the message says what can be reached.
        """
        limits = {
            name: limit * initial[name]
            if limit < 1 and name in ("macs", "parameters")
            else limit
            for name, limit in self.limits.items()
        }
        for name, limit in limits.items():
            if limit < smallest[name]:
                raise ValueError(
                    f"The target of {limit:,.0f} {name} cannot be reached: removing "
                    f"all units that may go leaves {smallest[name]:,}."
                )
        target = Target(**limits)
        if target.reached(initial):
            raise ValueError(
                f"The target ({target}) asks for no removal: the initial net has "
                f"{', '.join(f'{initial[name]:,} {name}' for name in limits)}."
            )
        return target

    def reached(self, measured: Mapping) -> bool:
        """Whether a net with these measures meets every limit."""
        return all(measured[name] <= limit for name, limit in self.limits.items())

    def __str__(self) -> str:
        return ", ".join(f"{limit:,.10g} {name}" for name, limit in self.limits.items())


def held(initial: float, accuracy: float, tolerance: float) -> bool:
    """Whether no more than `tolerance` of the initial accuracy is lost."""
    # Rounding must not fail a net that lost exactly the tolerance.
    return initial - accuracy <= tolerance + 1e-9


def select_units(scores: Mapping[str, float], count: int) -> tuple[str, ...]:
    """The `count` units with the smallest scores, or all there are, smallest first.

    Equal scores keep the order of `scores`. Line 6 of Algorithm 1.

    Raises:
        ValueError: if no unit has a score, or `count` < 1.
    """
    if not scores or count < 1:
        raise ValueError(f"Cannot select {count} of {len(scores)} scored units.")
    return tuple(sorted(scores, key=scores.get)[:count])
