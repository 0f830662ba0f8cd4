"""How much each unit saves of the measures that a target limits."""

import collections

from resprune_tf import graph
from resprune_tf.graph.depth import depths
from resprune_tf.graph.tracing import trace
from resprune_tf.targets.measures import latency_ratios
from resprune_tf.targets.target import LATENCY
from resprune_tf.units.finding import removal_of
from resprune_tf.units.removal import remove_units
from resprune_tf.units.survey import Survey


def unit_savings(model, units, target, initial, smallest):
    """How much each unit saves of every measure that a target limits.

    MACs, parameters and units are counted per unit. Layers are those on the longest
    path of the unit. File size is proportional to parameters. For latency, identical
    units form a group, and the model is timed without each group, in turns with the
    whole model. The time saved is divided equally among the units of the group, because
    the saving of one unit would be lost in the noise. Finally, the savings of units
    that are not inside one another are scaled to sum up to the measured saving of
    removing all of them: two units that share a layer save it only together.

    Args:
        model: a functional `keras.Model`; it is not changed.
        units: list of the `Unit`s that may be removed.
        target: a `Target`.
        initial, smallest: measures of the model, and of the model without `units`.

    Returns:
        `(savings, timed)`: a dict from measure to a dict from unit name to number, and,
        for latency, a dict from the first unit of each group to the names of all units
        of the group.
    """
    timed, saved = {}, {}
    if any(name in target.limits for name in LATENCY):
        timed = alike_units(model, units)
        models = [model, *(remove_units(model, alike) for alike in timed.values())]
        _, (_, *ratios), _ = latency_ratios(models, target)
        for alike, ratio in zip(timed.values(), ratios, strict=True):
            # If the model was slower without the units, that is noise: they save 0.
            saved.update(dict.fromkeys(alike, max(0.0, 1 - ratio) / len(alike)))
    savings = {}
    for name in target.limits:
        if name in LATENCY:
            own = saved
        elif name == "layers":
            own = _layers(model, units)
        elif name == "units":
            own = {unit.name: 1 + len(unit.contains) for unit in units}
        elif name == "macs":
            own = {unit.name: unit.macs for unit in units}
            own = _shared_out(own, model, units, initial, smallest, "macs")
        else:  # parameters, and file size, which is proportional to them
            own = {unit.name: unit.parameters for unit in units}
            own = _shared_out(own, model, units, initial, smallest, "parameters")
        savings[name] = _scaled(own, units, initial[name] - smallest[name])
    return savings, timed


def alike_units(model, units):
    """Groups identical units: same operations in order, output shape and cost.

    Args:
        model: a functional `keras.Model`.
        units: its `Unit`s.

    Returns:
        dict from the name of the first unit of each group to the names of all.
    """
    operations = {}
    for path, level in graph.levels(graph.as_functional(model, "alike_units")):
        for node in graph.nodes(level):
            name = "/".join((*path, node.operation.name))
            operations.setdefault(name, type(node.operation))
    kinds = collections.defaultdict(list)
    for unit in units:
        kind = tuple(operations[name] for name in unit.layers)
        kinds[kind, unit.shape, unit.macs, unit.parameters].append(unit.name)
    return {names[0]: tuple(names) for names in kinds.values()}


def outermost(units):
    """The units that are not inside another one of `units`."""
    inside = {name for unit in units for name in unit.contains}
    return [unit for unit in units if unit.name not in inside]


def _layers(model, units):
    """Weighted layers on each unit's longest path, as `cost` counts them."""
    own = dict.fromkeys((unit.name for unit in units), 0)
    merges = {id(unit.merge): unit for unit in units}
    calls, _ = trace(graph.as_functional(model, "layers"))
    depth = depths(calls)
    for call in calls:
        unit = merges.get(id(call.node))
        if unit is not None:
            places = [t is unit.shortcut for t in call.node.input_tensors]
            shortcut = call.inputs[places.index(True)]
            own[unit.name] += depth[id(call.outputs[0])] - depth[id(shortcut)]
    return own


def _shared_out(own, model, units, initial, smallest, measure):
    """Adds to the savings what units save only together, divided equally among them.

    For MACs, this is a call on the branches of several units; for parameters, a layer
    that several units call.
    """
    outer = outermost(units)
    total = initial[measure] - smallest[measure]
    missing = total - sum(own[unit.name] for unit in outer)
    if missing <= 0:
        return own

    def key(node):
        return id(node if measure == "macs" else node.operation)

    whole = graph.as_functional(model, "savings")
    survey = Survey(whole)
    calls, _ = trace(whole, removal_of(outer))
    together = {key(call.node) for call in survey.calls}
    together.difference_update(key(call.node) for call in calls)
    for unit in outer:
        lost = survey.without(unit.merge.outputs[0], unit.stand_in)
        alone = lost.nodes if measure == "macs" else map(id, lost.operations)
        together.difference_update(alone)
    sharing = [
        unit.name
        for unit in outer
        if any(
            key(node) in together
            for node in graph.nodes_between(
                [unit.start], unit.branches or unit.merge.outputs
            )
        )
    ]
    shares = dict.fromkeys(sharing, missing / len(sharing)) if sharing else {}
    return {name: saved + shares.get(name, 0) for name, saved in own.items()}


def _scaled(own, units, total):
    """Scales savings so that those of the outermost units sum up to `total`."""
    outer = [unit.name for unit in outermost(units)]
    if not any(own[name] for name in outer):
        own = dict.fromkeys(own, 1)  # no unit saves anything by itself
    whole = sum(own[name] for name in outer)
    if whole == total:
        return own
    return {name: saved * max(total, 0) / whole for name, saved in own.items()}
