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
    names, shortcuts = {}, {}
    for each in layers:
        names.setdefault(each.kind, []).append(each.name)
        shortcuts.setdefault(each.kind, set()).update(each.shortcuts)
    if not names:
        return []
    where = advice("", " in a module that --import names")
    return [
        "Possibly merges, as they return their shortcut where the branch is 0. To "
        f"declare them{where}:",
        *(
            f"  `register_merge({kind}, shortcuts={tuple(sorted(places))})`: "
            f"{', '.join(names[kind])}."
            for kind, places in shortcuts.items()
        ),
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
