"""Draws the residual units of a model, stage by stage, with their scores."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping

import keras

from resprune_tf.graph.cost import cost
from resprune_tf.system.wording import counted
from resprune_tf.units.finding import find_units
from resprune_tf.units.importances import importances

if typing.TYPE_CHECKING:
    import matplotlib.figure

_PER_LINE = 12
_WIDTH, _LINE = 0.82, 1.25  # of a box; from line to line
_INK, _MUTED, _FIXED = "#24272c", "#6c7078", "#e6e4de"


def draw_units(
    model: keras.Model,
    scores: Mapping[str, float] | None = None,
    label: str | None = None,
    path: str | os.PathLike | None = None,
) -> matplotlib.figure.Figure:
    """Draws the units of a model as boxes, one row per stage, coloured by score.

    Units that cannot be removed are grey. The percentage below a box is the share of
    the model's MACs that its removal saves. The arc above a box is the shortcut,
    dashed if it is a projection.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.
        scores: dict from unit name to number, as a criterion returns it. Defaults to
            ω, for units that have one.
        label: label of the colour scale.
        path: file to write (`.svg`, `.png` or `.pdf`); None to write no file.

    Returns:
        A `matplotlib.figure.Figure`, which notebooks display.

    Raises:
        ValueError: if the model has no unit, or `scores` names an unknown unit.
        TypeError: if `model` is not functional.

    >>> scores = criteria.block_influence(images)(model)
    >>> figure = draw_units(model, scores, "block influence", "units.svg")
    """
    units = find_units(model)
    if not units:
        raise ValueError(str(units))
    if scores is None:
        scores, label = importances(model), label or "ω"
    if unknown := sorted(set(scores).difference(unit.name for unit in units)):
        raise ValueError(
            f"`scores` names units that '{model.name}' does not have: "
            f"{', '.join(unknown)}. Its units: {', '.join(u.name for u in units)}."
        )
    figure = _figure(units, scores, label or "score", _total_macs(model))
    if path is not None:
        figure.savefig(path, bbox_inches="tight", dpi=150)
    return figure


def _total_macs(model):
    try:
        return cost(model).macs
    except ValueError:  # sizes are unknown
        return None


def _lines(units):
    """Splits the units into rows: one stage each, at most `_PER_LINE` units."""
    lines = []
    for unit in units:
        line = lines[-1] if lines else []
        if not line or line[0].stage != unit.stage or len(line) == _PER_LINE:
            lines.append([unit])
        else:
            line.append(unit)
    return lines


def _figure(units, scores, label, total):
    from matplotlib import cm, colors
    from matplotlib.figure import Figure

    lines = _lines(units)
    longest = max(map(len, lines))
    width, height = 1.9 + 0.95 * longest + (1.0 if scores else 0), 0.5 + len(lines)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title(
        f"{units.model}: {counted(len(units), 'unit')}, "
        f"{sum(unit.removable for unit in units)} removable"
        + (" (below each: the share of MACs it would save)" if total else ""),
        loc="left",
        color=_INK,
        fontsize=10,
        parse_math=False,
    )
    shades = None
    if scores:
        low, high = min(scores.values()), max(scores.values())
        largest = max(abs(low), abs(high))
        # Scores that can be negative (ω, or how much the loss increases) get a
        # diverging colour scale, symmetric around 0.
        span, name = ((-largest, largest), "RdBu") if low < 0 else ((0, high), "Blues")
        shades = cm.ScalarMappable(colors.Normalize(*span), name)
        figure.colorbar(shades, ax=axes, label=label, shrink=0.8)
    for place, line in enumerate(lines):
        y = -place * _LINE
        if place == 0 or lines[place - 1][0].stage != line[0].stage:
            _write(axes, -0.15, y + 0.25, _stage(line[0]), ha="right", color=_INK)
        for x, unit in enumerate(line):
            _box(axes, x, y, unit, scores.get(unit.name), shades, total)
    axes.set_xlim(-1.7, longest)
    axes.set_ylim(-(len(lines) - 1) * _LINE - 0.5, 1.0)
    return figure


def _stage(unit):
    shape = "×".join("?" if size is None else str(size) for size in unit.shape)
    return f"stage {unit.stage}\n{shape}"


def _box(axes, x, y, unit, score, shades, total):
    from matplotlib.patches import Arc, Rectangle

    face, ink = "white" if unit.removable else _FIXED, _INK
    if score is not None:
        face = shades.to_rgba(score)
        dark = 0.299 * face[0] + 0.587 * face[1] + 0.114 * face[2] < 0.5
        ink = "white" if dark else _INK
    axes.add_patch(Rectangle((x, y), _WIDTH, 0.5, fc=face, ec=_INK, lw=0.8))
    style = "-" if unit.kind == "identity" else "--"
    middle = x + _WIDTH / 2
    axes.add_patch(
        Arc((middle, y + 0.5), _WIDTH + 0.1, 0.4, theta2=180, color=_MUTED, ls=style)
    )
    name = unit.name.rpartition("/")[2]
    _write(axes, middle, y + 0.36, _shortened(name), color=ink, fontsize=6)
    if score is not None:
        _write(axes, middle, y + 0.14, f"{score:.2g}", color=ink, fontsize=8)
    if total and unit.macs is not None:
        _write(axes, middle, y - 0.12, f"{unit.macs / total:.1%}", fontsize=6.5)


def _shortened(name):
    """The last 15 characters of a longer name, which fit into a box."""
    return name if len(name) <= 15 else f"…{name[-14:]}"


def _write(axes, x, y, text, ha="center", color=_MUTED, fontsize=8):
    axes.text(
        x, y, text, ha=ha, va="center", color=color, fontsize=fontsize, parse_math=False
    )
