"""Measures what a target limits: counts, file size, latency on a runtime."""

import pathlib
import re
import tempfile

import numpy as np

from resprune_tf import graph
from resprune_tf.deploy.formats import check_formats, write_folded
from resprune_tf.deploy.registry import RUNTIME_FORMATS
from resprune_tf.deploy.runtime_latency import device_latencies, runtime_latencies
from resprune_tf.graph.cost import cost
from resprune_tf.graph.tracing import trace
from resprune_tf.system.disk import size_of
from resprune_tf.targets.target import FILE, LATENCY, LOAD, check_target
from resprune_tf.units.finding import removal_of
from resprune_tf.units.removal import remove_units
from resprune_tf.units.search import search
from resprune_tf.units.table import unsearched


def measure(model):
    """Layers, residual units, MACs and parameters of a model, as a dict.

    MACs do not include operations without a rule: see `Cost.uncounted`.
    """
    measured = cost(model)
    return {
        "layers": measured.layers,
        "units": sum(1 for _ in search(graph.as_functional(model, "measure"))),
        "macs": measured.macs,
        "parameters": measured.parameters,
    }


def target_measures(models, target=None, initial_ms=None):
    """Measures everything that a target limits, for the initial model and others.

    Counts are always measured. File size and latency are measured only if the target
    limits them, both as absolute value and as ratio. Models are timed in turns, and
    the latency ratio is the median over turns of the ratio to the initial model, so
    that background load affects both alike.

    Args:
        models: functional `keras.Model`s, the initial model first.
        target: `Target`, or None.
        initial_ms: latency of the initial model in ms, if it was measured before. The
            `latency_ms` of the others is then their ratio times this.

    Returns:
        A list of dicts from measure to number, one per model.

    Raises:
        TypeError, ValueError, ImportError, RuntimeError: as `cost`, `fold` and
            `runtime_latencies` or `device_latencies` do.
    """
    found = [measure(model) for model in models]
    limits = target.limits if target is not None else {}
    if any(name in limits for name in FILE):
        sizes = [file_bytes(model, target.file_format) for model in models]
        for measured, size in zip(found, sizes, strict=True):
            measured.update(file_bytes=size, file_ratio=size / sizes[0])
    if any(name in limits for name in LATENCY):
        first_ms, ratios, load = latency_ratios(models, target)
        initial_ms = first_ms if initial_ms is None else initial_ms
        for measured, ratio in zip(found, ratios, strict=True):
            measured.update(latency_ms=ratio * initial_ms, latency_ratio=ratio)
            if load is not None:
                measured[LOAD] = load
    return found


def pruned_measures(model, pruned, target, initial):
    """Measures of a pruned model; as `target_measures`.

    Args:
        model, pruned: functional `keras.Model`s, before and after the pruning.
        target: `Target`, or None.
        initial: dict from measure to number, for `model`.

    Returns:
        dict from measure to number.
    """
    return target_measures([model, pruned], target, initial.get("latency_ms"))[1]


def latency_ratios(models, target):
    """Latencies of models relative to the first one, as a target specifies.

    Returns:
        `(latency of the first in ms, list of ratios, load)`: medians over the turns,
        and `Latency.load`.
    """
    if target.latency_fn is not None:
        times = device_latencies(models, target.runtime, target.latency_fn)
    else:
        times = runtime_latencies(
            models, target.runtime, batch_size=target.batch_size, threads=target.threads
        )
    ratios = [float(np.median(each.ratios(times[0]))) for each in times]
    return times[0].median_ms, ratios, times[0].load


def file_bytes(model, file_format):
    """Size in bytes of a folded model's file, or of all files of its directory.

    Args:
        model: a functional `keras.Model`; it is not changed.
        file_format: a format of `export`. An int8 file is calibrated on noise, which
            hardly affects its size.

    Raises:
        ValueError, ImportError: if the format cannot be written here.
        ExportError: if the converter rejects the model.
    """
    (name,) = check_formats(file_format)
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        return size_of(write_folded(name, model, pathlib.Path(folder)))


def check_measurable(model, target):
    """Raises an error if what a target limits cannot be measured for a model here.

    Raises:
        ValueError: if the target limits MACs and those of a layer cannot be counted,
            or the format of its file or runtime is not for this Keras backend.
        TypeError: if `target` is not a `Target`.
        ImportError: if a package is missing; the message says what to install.
    """
    check_target(target)
    uncounted = cost(model).uncounted
    if target.macs is not None and uncounted:
        raise ValueError(
            f"The MACs of these layers of '{model.name}' cannot be counted: "
            f"{', '.join(uncounted)}. Choose a target of layers, units or parameters."
        )
    if target.file_format is not None:
        check_formats(target.file_format)
    if target.runtime is not None:
        check_formats(RUNTIME_FORMATS[target.runtime])


def extent(model, units, target=None):
    """Measures of a model with and without `units`: the range of possible targets.

    Args:
        model: a functional `keras.Model`; it is not changed.
        units: names of the removable units, at least one.
        target: `Target` whose limits are measured in addition to counts, or None.

    Returns:
        tuple of two dicts from measure to number.

    Raises:
        ValueError, TypeError, ImportError: as `check_measurable`.
    """
    if target is not None:
        check_measurable(model, target)
    pruned = remove_units(model, units)
    return tuple(target_measures([model, pruned], target))


def stay_to_learn(model, units):
    """Number of units to keep so that the model has trainable weights: 0 or 1.

    Args:
        model: a functional `keras.Model`; it is not changed.
        units: list of its removable `Unit`s.

    Returns:
        1 if the model without `units` has no trainable weight, else 0.
    """
    whole = graph.as_functional(model, "stay_to_learn")
    calls, _ = trace(whole, removal_of(units))
    learns = any(getattr(call.operation, "trainable_weights", ()) for call in calls)
    return int(bool(units and whole.trainable_weights) and not learns)


def none_removable(found, not_removable):
    """The message that no unit of a model can be removed.

    Args:
        found: `Units` of the model.
        not_removable: dict from the name of each unit to the reason.
    """
    reasons = "".join(f"\n  {name}: {why}." for name, why in not_removable.items())
    return f"No unit of '{found.model}' can be removed.{reasons}{unsearched(found)}"


def removable_units(found, names, protected=()):
    """The units that a run may remove, and why it may not remove the others.

    Args:
        found: `Units` of a model.
        names: names of the units that have a score.
        protected: names of units that must not be removed, or patterns with `*`. Units
            that contain one of them are protected too.

    Returns:
        `(units, not_removable)`: the list of `Unit`s that may be removed, and a dict
        from the name of every other unit to the reason.

    Raises:
        ValueError, TypeError: as `names_of`.
    """
    protected = names_of(protected, found)
    units, not_removable = [], {}
    for unit in found:
        protected_inside = [name for name in unit.contains if name in protected]
        if unit.name in protected:
            not_removable[unit.name] = "it is protected"
        elif not unit.removable:
            not_removable[unit.name] = unit.reason
        elif protected_inside:
            not_removable[unit.name] = (
                f"it contains {', '.join(protected_inside)}, protected"
            )
        elif unit.name not in names:
            not_removable[unit.name] = "it has no score"
        else:
            units.append(unit)
    return units, not_removable


def check_protected(protected):
    """Raises a TypeError if `protected` is one name instead of a sequence of names."""
    if isinstance(protected, str):
        raise TypeError(
            "`protected` must be a sequence of names, such as "
            f"({protected!r},). Received: {protected!r}."
        )


def names_of(protected, found):
    """Resolves names of units, or patterns with `*`, to names of units.

    Args:
        protected: names of units, or patterns with `*`.
        found: `Units` of a model.

    Returns:
        frozenset of names.

    Raises:
        ValueError: if a name or pattern matches no unit.
        TypeError: if `protected` is a string.
    """
    check_protected(protected)
    known, names, unknown = [unit.name for unit in found], set(), []
    for each in sorted(map(str, protected)):
        # Only `*` is special, as names may contain other characters that `fnmatch`
        # treats as patterns.
        pattern = ".*".join(map(re.escape, each.split("*")))
        matching = [name for name in known if re.fullmatch(pattern, name)]
        names.update(matching)
        if not matching:
            unknown.append(each)
    if unknown:
        raise ValueError(
            f"`protected` names units that '{found.model}' does not have: "
            f"{', '.join(unknown)}. Its units: {', '.join(known)}."
        )
    return frozenset(names)
