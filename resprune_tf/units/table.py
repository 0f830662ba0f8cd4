"""Formats the units of a model as a text table."""

from resprune_tf.system.advice import advice
from resprune_tf.system.wording import counted


def unit_table(units):
    """Describes `Units` as text: each unit, its cost, and where more may be.

    Args:
        units: `Units`; see `find_units`.

    Returns:
        str of several lines, without a final line break.
    """
    removable = sum(unit.removable for unit in units)
    lines = [
        f"'{units.model}': {counted(len(units), 'residual unit')}, {removable} "
        "removable."
        if units
        else f"'{units.model}' has no residual unit."
    ]
    if units:
        head = ("unit", "stage", "output", "shortcut", "parameters", "MACs", "contains")
        lines += aligned(head, *map(_row, units))
    uncounted = dict.fromkeys(name for unit in units for name in unit.uncounted)
    if uncounted:
        lines.append(
            f"MACs do not include (+?) what cannot be counted: {', '.join(uncounted)}."
        )
    reasons = [f"  {unit.name}: {unit.reason}." for unit in units if unit.reason]
    if reasons:
        drop = advice(" (`drop_branches` removes the branches of projection units)")
        lines += [f"Cannot be removed whole{drop}:"]
        lines += reasons
    return "\n".join(lines) + unsearched(units)


def unsearched(units):
    """Layers that were not searched or may be merges, as lines; empty if none."""
    lines = [*_opaque(units.opaque), *_possible_merges(units.possible_merges)]
    return "".join(f"\n{line}" for line in lines)


def _opaque(layers):
    if not layers:
        return []
    openers = advice(
        "`expand` opens such layers, `register_unit` declares one a residual unit",
        "--expand opens such layers",
    )
    lines = [f"Not searched ({openers}):"]
    for each in layers:
        shape = "shape kept, may be residual" if each.residual else "shape changes"
        lines.append(
            f"  {each.name} ({each.kind}): {counted(each.layers, 'layer')} inside, "
            f"{each.parameters:,} parameters, {shape}."
        )
    return lines


def _possible_merges(layers):
    calls = {}
    for each in layers:
        places = ", ".join(map(str, each.shortcuts)) + "," * (len(each.shortcuts) == 1)
        call = f"register_merge({each.kind}, shortcuts=({places}))"
        calls.setdefault(call, []).append(each.name)
    if not calls:
        return []
    where = advice("", " in a module that --import names")
    return [
        f"Possibly merges, as they return one input if the others are 0. To declare "
        f"them{where}:",
        *(f"  `{call}`: {', '.join(names)}." for call, names in calls.items()),
    ]


def _macs(unit):
    if unit.macs is None:
        return "?"
    return f"{unit.macs:,}" + ("+?" if unit.uncounted else "")


def _row(unit):
    contains = counted(len(unit.layers), "layer")
    if unit.contains:
        contains += f", units {', '.join(unit.contains)}"
    return (
        unit.name,
        str(unit.stage),
        "x".join("?" if size is None else str(size) for size in unit.shape),
        unit.kind,
        f"{unit.parameters:,}",
        _macs(unit),
        contains,
    )


def aligned(*rows):
    """Aligns columns of text: the first to the left, the others to the right.

    Args:
        *rows: sequences of str, all of the same length.

    Returns:
        list of str, one per row, with two spaces between columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines
