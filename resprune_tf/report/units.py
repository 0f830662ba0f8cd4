"""The units of a run as an HTML table: what became of each, and its scores."""

import html


def units_table(run):
    """A row for each unit of the initial model, a column for the scores of each round.

    Scores are shaded by their size within the round. The smallest are underlined whose
    units the next round removed.
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
            weight = abs(score) / largest[r["round"]]
            goes = " goes" * (run.removals.get(unit) == r["round"] + 1)
            text = f"{score:.3g}".replace("-", "\N{MINUS SIGN}")
            cells += (
                f'<td class="score{goes}" style="--w:{weight:.2f}">'
                f"<span>{text}</span></td>"
            )
        body += (
            f'<tr class="unit {kind}"><th scope="row" class="mono">{_escape(unit)}</th>'
            f'<td class="outcome">{_escape(state)}</td>{cells}</tr>\n'
        )
    head, numbers = "", ""
    if scored:
        head = f'<th colspan="{len(scored)}">Score after round</th>'
        cells = "".join(f'<th scope="col">{r["round"]}</th>' for r in scored)
        numbers = f"<tr>{cells}</tr>"
    return (
        '<div class="scroll units"><table><thead><tr><th rowspan="2">Unit</th>'
        f'<th rowspan="2">Outcome</th>{head}</tr>{numbers}</thead><tbody>\n{body}'
        f"</tbody></table></div>{_reasons(run)}"
    )


def _reasons(run):
    """Why units cannot be removed, where that is recorded."""
    rows = "".join(
        f"<dt>{_escape(unit)}</dt><dd>cannot be removed: {_escape(reason)}</dd>"
        for unit, reason in run.kept.items()
        if reason
    )
    return f'<dl class="list">{rows}</dl>' if rows else ""


def about(run):
    """What the table shows, in words."""
    text = "Residual units in the order of computation. "
    if any(map(run.scores, run.rounds)):
        name = run.criterion
        by = f" by {name}" if name else ""
        if name == "importance":
            by += ", |ω|: the size of the learned factor of the unit’s branch"
        text += (
            f"Scores{by}. After each round the remaining units are scored again, and "
            "those with the smallest scores (underlined) are removed. Darker cells "
            "have larger scores within their round."
        )
    return text


def _outcome(run, unit):
    """The kind of a unit, and what became of it in words."""
    number = run.removals.get(unit)
    if number is not None and number <= run.net["round"]:
        return "removed", f"removed in round {number}"
    if number is not None:
        return "kept", f"kept (removed in round {number}, which is not selected)"
    if unit in run.kept:
        return "fixed", "cannot be removed"
    return "kept", "kept (removable)"


def _escape(value):
    return html.escape(str(value))
