"""The units of a run as an HTML table, with their outcomes and scores."""

import html


def units_table(run):
    """Returns a table with a row per unit of the initial model, as HTML.

    The scores of each round have a column. They are shaded by their magnitude within
    the round, and underlined if the next round removed the unit.
    """
    scored = [r for r in run.rounds if run.scores(r)]
    largest = {r["round"]: max(map(abs, run.scores(r).values())) or 1 for r in scored}
    body = ""
    for unit in run.units:
        kind, state = _outcome(run, unit)
        cells = ""
        for r in scored:
            score = run.scores(r).get(unit)
            if score is None:
                cells += "<td></td>"
                continue
            shade = abs(score) / largest[r["round"]]
            removed = " removed" * (run.removals.get(unit) == r["round"] + 1)
            text = f"{score:#.3g}".removesuffix(".").replace("-", "\N{MINUS SIGN}")
            cells += (
                f'<td class="score{removed}" style="--shade:{shade:.2f}">'
                f"<span>{text}</span></td>"
            )
        body += (
            f'<tr class="unit {kind}"><th scope="row" class="mono">{escape(unit)}</th>'
            f'<td class="outcome">{escape(state)}</td>{cells}</tr>\n'
        )
    head, numbers = "", ""
    if scored:
        head = f'<th colspan="{len(scored)}">Score after round</th>'
        cells = "".join(f'<th scope="col">{escape(r["round"])}</th>' for r in scored)
        numbers = f"<tr>{cells}</tr>"
    return (
        '<div class="scroll units"><table><thead><tr><th rowspan="2">Unit</th>'
        f'<th rowspan="2">Outcome</th>{head}</tr>{numbers}</thead><tbody>\n{body}'
        f"</tbody></table></div>{_reasons(run)}"
    )


def _reasons(run):
    """The recorded reasons why units cannot be removed, as HTML."""
    rows = "".join(
        f"<dt>{escape(unit)}</dt><dd>cannot be removed: {escape(reason)}</dd>"
        for unit, reason in run.kept.items()
        if reason
    )
    return f'<dl class="list">{rows}</dl>' if rows else ""


def about(run):
    """Returns the description of the table, as text."""
    text = "Residual units in the order of computation. "
    if any(map(run.scores, run.rounds)):
        name = run.criterion
        by = f" by {name}" if name else ""
        if name == "importance":
            by += ", |ω|: the magnitude of the learned scalar of the unit’s branch"
        text += (
            f"Scores{by}. After each round the remaining units are scored again. The "
            "units that the next round removes are underlined; if it removes several, "
            "they may be scored once more after each of them. A stronger color means a "
            "larger score within the round."
        )
    return text


def _outcome(run, unit):
    """The outcome of a unit: a class of the style sheet, and a text."""
    number = run.removals.get(unit)
    if number is not None and number <= run.reported["round"]:
        return "removed", f"removed in round {number}"
    if number is not None:
        return "kept", f"kept (removed in round {number}, which is not selected)"
    if unit in run.kept:
        return "fixed", "cannot be removed"
    return "kept", "kept (removable)"


def escape(value):
    """A value as text that can be put into an HTML page."""
    return html.escape(str(value))
