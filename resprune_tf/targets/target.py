"""The size or latency budget that a pruned model must meet.

This module imports neither Keras nor NumPy, so that commands start fast.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping

from resprune_tf.deploy.registry import (
    FORMATS,
    check_latency_fn,
    check_runtime,
    known_as,
    name_of,
)
from resprune_tf.system.counts import check_counts
from resprune_tf.system.wording import busy_note

# Counts come from the graph alone. A file must be written, a latency must be timed.
COUNTED = ("layers", "units", "macs", "parameters")
FILE = ("file_bytes", "file_ratio")
LATENCY = ("latency_ms", "latency_ratio")
_MEASURES = (*COUNTED, *FILE, *LATENCY)
# Recorded with each latency, but not a limit: see `Latency.load`.
LOAD = "machine_load"


class TargetMet(ValueError):
    """The initial model meets the target already, so there is nothing to remove."""


@dataclasses.dataclass(frozen=True)
class Target:
    """The size or latency budget of a pruned model.

    If several limits are given, all must be met. File size and latency can be limited
    by an absolute value or by a ratio to the initial model.

    Args:
        layers: maximum number of layers on the longest path, as in "ResNet-32".
        units: maximum number of residual units, removable or not.
        macs, parameters: maximum number; a value below 1 is a fraction of the initial
            model's number. A multiply-accumulate counts as two FLOPs, so a limit in
            MACs is half of the limit in FLOPs.
        file_bytes: maximum size of the folded model's file, in bytes.
        file_ratio: maximum file size as a fraction of the initial one, below 1.
        latency_ms: maximum median latency of one call of the folded model, in ms.
        latency_ratio: maximum latency as a fraction of the initial one, below 1.
        file_format: format of the file, one of those of `export`.
        runtime: runtime for the latency, one of those of `runtime_latencies`.
        batch_size, threads: images per call, and processor threads of the runtime.
        latency_fn: function that measures the latency on another device, as for
            `device_latencies`: it receives the path of a model that was written for the
            `runtime`, and returns the time of one call in ms. By default, the runtime
            is timed on the processor of this machine.

    Raises:
        TypeError: if `latency_fn` cannot be called.
        ValueError: if no limit is given, if one is out of range, or if the
            `file_format` or `runtime` of a limit is missing or unknown, or given
            without a limit; or if `latency_fn` is given without a limit of the latency,
            or with `batch_size` or `threads`.

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
    latency_fn: Callable[[str], float] | None = None

    def __post_init__(self):
        if not self.limits:
            raise ValueError(
                f"A `Target` needs at least one limit of {', '.join(_MEASURES)}."
            )
        for name, limit in self.limits.items():
            if not (isinstance(limit, numbers.Real) and limit > 0):
                raise ValueError(
                    "The limits of a `Target` must be positive numbers. "
                    f"Received: {name}={limit!r}."
                )
            if name in ("layers", "units") and limit < 1:
                raise ValueError(
                    f"`{name}` is a number of {name}, at least 1; of the counts, only "
                    f"`macs` and `parameters` can be fractions. Received: {name}="
                    f"{limit}."
                )
            if name.endswith("_ratio") and not limit < 1:
                raise ValueError(
                    f"`{name}` is a fraction of the initial model's value, below 1. "
                    f"Received: {name}={limit}."
                )
        if self.file_bytes is not None and self.file_bytes < 1:
            raise ValueError(
                "`file_bytes` must be at least 1 byte; a fraction of the initial file "
                f"size is `file_ratio`. Received: file_bytes={self.file_bytes}."
            )
        if self.runtime is not None:
            object.__setattr__(self, "runtime", check_runtime(self.runtime))
        if self.file_format is not None:
            object.__setattr__(self, "file_format", known_as(self.file_format))
            if self.file_format not in FORMATS:
                raise ValueError(
                    f"`file_format` must be one of {', '.join(FORMATS)}. "
                    f"Received: {self.file_format!r}."
                )
        self._check_named("file_format", FILE, '"keras"')
        self._check_named("runtime", LATENCY, '"litert"')
        check_counts(batch_size=self.batch_size, threads=self.threads)
        if self.latency_fn is not None:
            self._check_latency_fn()

    def _check_latency_fn(self):
        check_latency_fn(self.latency_fn)
        if self.runtime is None:
            raise ValueError(
                f"`latency_fn` belongs to a limit of {' or '.join(LATENCY)}, but none "
                "is given. Add one, or leave out `latency_fn`."
            )
        if (self.batch_size, self.threads) != (1, 1):
            raise ValueError(
                "`batch_size` and `threads` belong to the runtime of this machine, but "
                f"`latency_fn={name_of(self.latency_fn)}` measures the latency. Leave "
                "them out, and set them in that function. Received: batch_size="
                f"{self.batch_size}, threads={self.threads}."
            )

    def _check_named(self, name, measures, example):
        limited = [measure for measure in measures if measure in self.limits]
        if limited and getattr(self, name) is None:
            raise ValueError(
                f"`{limited[0]}` needs `{name}`, such as {name}={example}."
            )
        if not limited and getattr(self, name) is not None:
            raise ValueError(
                f"`{name}={getattr(self, name)!r}` belongs to a limit of "
                f"{' or '.join(measures)}, but none is given. Add one, or leave out "
                f"`{name}`."
            )

    @property
    def limits(self) -> dict[str, float]:
        """Dict from measure to limit, for the limits that are given."""
        return {k: v for k in _MEASURES if (v := getattr(self, k)) is not None}

    @property
    def conditions(self) -> dict:
        """Dict of the settings with which file size and latency are measured."""
        found = {}
        if self.file_format is not None:
            found["file_format"] = self.file_format
        if self.latency_fn is not None:
            found.update(runtime=self.runtime, latency_fn=name_of(self.latency_fn))
        elif self.runtime is not None:
            for name in ("runtime", "batch_size", "threads"):
                found[name] = getattr(self, name)
        return found

    def absolute(self, initial: Mapping) -> Target:
        """Returns the target with limits of MACs and parameters in absolute numbers.

        Args:
            initial: dict from measure to number, for the initial model.
        """
        limits = {
            name: limit * initial[name]
            for name, limit in self.limits.items()
            if limit < 1 and name in ("macs", "parameters")
        }
        return dataclasses.replace(self, **limits)

    def from_here(self, measured: Mapping) -> Target:
        """Returns the target for pruning a model further, relative to that model.

        Ratios are divided by those of the model. Its latency in ms is replaced by a
        ratio too, because the model is timed again. Ratios that it meets are left out.

        Args:
            measured: dict from measure to number, for a model that does not meet the
                target: its latency and file size, if they are limited.
        """

        def share(*names):
            found = [
                limit / measured[name]
                for name, limit in self.limits.items()
                if name in names
            ]
            return min((each for each in found if each < 1), default=None)

        limits = {
            "file_ratio": share("file_ratio"),
            "latency_ratio": share(*LATENCY),
            "latency_ms": None,
        }
        if limits["file_ratio"] is None and self.file_bytes is None:
            limits["file_format"] = None
        if limits["latency_ratio"] is None:
            limits["runtime"] = limits["latency_fn"] = None
        return dataclasses.replace(self, **limits)

    def resolve(
        self,
        initial: Mapping,
        smallest: Mapping,
        not_removable: Mapping[str, str] | None = None,
    ) -> Target:
        """Returns the target in absolute numbers, after checking that it can be met.

        Args:
            initial: dict from measure to number, for the initial model.
            smallest: dict from measure to number, for the model without all removable
                units.
            not_removable: dict from the names of units that cannot be removed to the
                reasons.

        Raises:
            TargetMet: (a ValueError) if the initial model meets the target already.
            ValueError: if no removal can meet it; the message states what can be
                reached.
        """
        target = self.absolute(initial)
        note = busy_note(initial.get(LOAD), smallest.get(LOAD))
        if target.reached(initial):
            raise TargetMet(
                f"The target ({target}) requires no removal: the initial model has "
                f"{target.listing(initial)}." + (f" {note}" if note else "")
            )
        if not target.reached(smallest):
            shares = " and ".join(
                f"{name}={math.ceil(1000 * share) / 1000:g}"
                for name, limit in self.limits.items()
                if target.limits[name] != limit  # given as a share
                and (share := smallest[name] / initial[name]) > limit
                and share <= 0.999  # a target of 1 would be a number
            )
            message = (
                f"The target of {target} cannot be reached: removing all removable "
                f"units leaves {target.listing(smallest)}. "
                f"Choose a larger target{', such as ' if shares else ''}{shares}."
            )
            for name in ("macs", "parameters"):
                if (limit := self.limits.get(name, 0)) and 1 <= limit <= 100:
                    message += (
                        f" `{name}={limit:g}` is a number; a fraction of the initial "
                        f"model is below 1, such as `{name}=0.6`."
                    )
            if not_removable:
                stay = (f"{name} ({reason})" for name, reason in not_removable.items())
                message += f" Units that cannot be removed: {', '.join(stay)}."
            if note:
                message += f" {note}"
            raise ValueError(message)
        return target

    def reached(self, measured: Mapping) -> bool:
        """Whether a model with these measures meets every limit."""
        return all(measured[name] <= limit for name, limit in self.limits.items())

    def listing(self, measured: Mapping) -> str:
        """Describes the limited measures of a model in words."""
        return ", ".join(
            _in_words(name, measured[name], self.conditions) for name in self.limits
        )

    def __str__(self) -> str:
        return self.listing(self.limits)


def check_target(target) -> None:
    """Raises a TypeError unless `target` is a `Target`."""
    if not isinstance(target, Target):
        raise TypeError(
            "`target` must be a Target, such as Target(layers=32). "
            f"Received: {target!r}."
        )


def format_measure(name: str, value: float) -> str:
    """The value of a measure as text, without its unit."""
    if name.endswith("_ratio"):
        return f"{value:.1%}"
    if name == "latency_ms":
        return f"{value:.4g}"
    # A count; a limit may be fractional.
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.10g}"


def _in_words(name, value, conditions):
    if name in COUNTED:
        noun = "MACs" if name == "macs" else name
        noun = noun.removesuffix("s") if value == 1 else noun
        return f"{format_measure(name, value)} {noun}"
    if name in FILE:
        of = "bytes" if name == "file_bytes" else "of the initial file"
        return f"{format_measure(name, value)} {of} as '{conditions['file_format']}'"
    of = "ms" if name == "latency_ms" else "of the initial latency"
    measured = f"{format_measure(name, value)} {of} on {conditions['runtime']}"
    if "latency_fn" in conditions:
        return f"{measured}, measured by {conditions['latency_fn']}"
    return f"{measured} at batch size {conditions['batch_size']}"
