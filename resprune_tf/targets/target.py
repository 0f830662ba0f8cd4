"""The size at which removal stops. Pure Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from resprune_tf.deploy.registry import known_as
from resprune_tf.system.wording import busy_note

# Counted from a net's graph alone, and measured: a file is written, a runtime timed.
COUNTED = ("layers", "units", "macs", "parameters")
FILE = ("file_bytes", "file_ratio")
LATENCY = ("latency_ms", "latency_ratio")
_MEASURES = (*COUNTED, *FILE, *LATENCY)
# Recorded beside a latency and no limit: see `Latency.load`.
LOAD = "machine_load"


class TargetMet(ValueError):
    """The initial model meets the target already, so there is nothing to remove."""


@dataclasses.dataclass(frozen=True)
class Target:
    """The size at which removal stops. Of several limits all must hold.

    A file and a latency have two spellings, since half a millisecond is as good a limit
    as half the time: an absolute one, and a ratio to the initial net's.

    Args:
        layers: at most so many layers, as in "ResNet-32".
        units: at most so many residual units left, the fixed ones included.
        macs, parameters: at most so many; a value below 1 is a fraction of the
            initial net's. A multiply-accumulate counts as two FLOPs: half of a limit
            in FLOPs is one in MACs, and ratios are the same.
        file_bytes: at most so many bytes of the folded net's file.
        file_ratio: file size as a fraction of the initial net's, below 1.
        latency_ms: median milliseconds of one call of the folded net.
        latency_ratio: latency as a fraction of the initial net's, below 1.
        file_format: of which format the file is; one of `export`'s.
        runtime: what runs the net; one of `runtime_latencies`'s.
        batch_size, threads: images a call, and processor threads of the runtime.

    Raises:
        ValueError: if no limit is given or one is out of range, or a file's format or
            a latency's runtime is not named, or named for no limit.

    >>> Target(latency_ratio=0.7, runtime="litert", layers=32)
    """

    layers: int | None = None
    units: int | None = None
    macs: float | None = None
    parameters: float | None = None
    file_bytes: float | None = None
    file_ratio: float | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None
    file_format: str | None = None
    runtime: str | None = None
    batch_size: int = 1
    threads: int = 1

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
            if name.endswith("_ratio") and not limit < 1:
                raise ValueError(
                    f"`{name}` is a fraction of the initial net's, below 1. "
                    f"Received: {name}={limit}."
                )
        if self.file_bytes is not None and self.file_bytes < 1:
            raise ValueError(
                "`file_bytes` is in bytes; a fraction of the initial net's file is "
                f"`file_ratio`. Received: file_bytes={self.file_bytes}."
            )
        for name in ("file_format", "runtime"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, known_as(value))
        self._check_named("file_format", FILE, '"keras"')
        self._check_named("runtime", LATENCY, '"litert"')
        if self.batch_size < 1 or self.threads < 1:
            raise ValueError(
                "`batch_size` and `threads` must be >= 1. "
                f"Received: batch_size={self.batch_size}, threads={self.threads}."
            )

    def _check_named(self, name, measures, example):
        limited = [measure for measure in measures if measure in self.limits]
        if limited and getattr(self, name) is None:
            raise ValueError(
                f"`{limited[0]}` needs `{name}`, such as {name}={example}: "
                "it depends on that."
            )
        if not limited and getattr(self, name) is not None:
            raise ValueError(
                f"`{name}={getattr(self, name)!r}` belongs to a limit of "
                f"{' or '.join(measures)}, and none is given."
            )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given."""
        return {k: v for k in _MEASURES if (v := getattr(self, k)) is not None}

    @property
    def conditions(self) -> dict:
        """Under which a file's size and a latency are measured, as far as asked for."""
        found = {}
        if self.file_format is not None:
            found["file_format"] = self.file_format
        if self.runtime is not None:
            for name in ("runtime", "batch_size", "threads"):
                found[name] = getattr(self, name)
        return found

    def resolve(
        self,
        initial: Mapping,
        smallest: Mapping,
        in_the_way: Mapping[str, str] | None = None,
    ) -> Target:
        """The target in absolute numbers, once it is known to be reachable.

        Args:
            initial: what the initial net measures of all that is limited.
            smallest: that of the net without all units that may go.
            in_the_way: why a unit may not go, by its name.

        Raises:
            TargetMet: (a ValueError) if the initial net meets the target already.
            ValueError: if no removal can meet it; the message says what can be
                reached.
        """
        limits = {
            name: limit * initial[name]
            if limit < 1 and name in ("macs", "parameters")
            else limit
            for name, limit in self.limits.items()
        }
        target = dataclasses.replace(self, **limits)
        note = busy_note(initial.get(LOAD), smallest.get(LOAD))
        if target.reached(initial):
            raise TargetMet(
                f"The target ({target}) asks for no removal: the initial net has "
                f"{target.listing(initial)}." + (f" {note}" if note else "")
            )
        if not target.reached(smallest):
            message = (
                f"The target of {target} cannot be reached: removing all units that "
                f"may go leaves {target.listing(smallest)}."
            )
            if in_the_way:
                stay = (f"{name} ({reason})" for name, reason in in_the_way.items())
                message += f" Units that may not go: {', '.join(stay)}."
            if note:
                message += f" {note}"
            raise ValueError(message)
        return target

    def reached(self, measured: Mapping) -> bool:
        """Whether a net with these measures meets every limit."""
        return all(measured[name] <= limit for name, limit in self.limits.items())

    def listing(self, measured: Mapping) -> str:
        """What a net measures of all that is limited, in words."""
        return ", ".join(
            _in_words(name, measured[name], self.conditions) for name in self.limits
        )

    def __str__(self) -> str:
        return self.listing(self.limits)


def format_measure(name: str, value: float) -> str:
    """The value of a measure as it is told; its unit is not."""
    if name.endswith("_ratio"):
        return f"{value:.1%}"
    if name == "latency_ms":
        return f"{value:.4g}"
    # A count, but a fraction of one may be what is asked for.
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.10g}"


def _in_words(name, value, conditions):
    if name in COUNTED:
        noun = name.removesuffix("s") if value == 1 else name
        return f"{format_measure(name, value)} {noun}"
    if name in FILE:
        of = "bytes" if name == "file_bytes" else "of the initial file"
        return f"{format_measure(name, value)} {of} as '{conditions['file_format']}'"
    of = "ms" if name == "latency_ms" else "of the initial latency"
    return (
        f"{format_measure(name, value)} {of} on {conditions['runtime']} at batch size "
        f"{conditions['batch_size']}"
    )
