"""The net of a run as an HTML strip: a row a stage, a cell a unit."""

import html

from experiments.pages.run_records import group_units


def net_strip(run):
    """The initial net: what became of each unit, on cells coloured by |ω|."""
    removals, end = run.removals, run.net["round"]
    units = [*run.rounds[0]["units"], *run.rounds[0]["removed"]]
    largest = max(map(abs, run.importances.values()), default=0) or 1
    stages = ""
    for label, members in group_units(units).items():
        cells, kept = "", 0
        for name, short in members:
            omega, number = run.importances.get(name), removals.get(name)
            kind = "kept" if omega is not None else "fixed"
            state = "kept" if omega is not None else "stays"
            if number is not None and number <= end:
                kind, state = "removed", f"round {number}"
            elif number is not None:
                state = f"kept ({number})"
            kept += kind != "removed"
            weight = abs(omega or 0) / largest
            value = "–" if omega is None else f"{omega:+.2f}".replace("-", "−")
            strong = " strong" if weight > 0.75 and kind == "kept" else ""
            cells += (
                f'<li class="unit {kind}" title="{html.escape(name)}">'
                f'<span class="cell{strong}" style="--w:{weight:.2f}">'
                f"<b>{html.escape(short)}</b><span>{value}</span></span>"
                f'<span class="state">{state}</span></li>'
            )
        count = f"{kept} of {len(members)} units"
        stages += (
            f'<div class="stage"><h3>{html.escape(label)}<small>{count}</small></h3>'
            f"<ol>{cells}</ol></div>\n"
        )
    tried = any(number > end for number in removals.values())
    later = "<span>kept (7): removed in round 7, after the selected one</span>"
    return (
        f'{stages}<p class="key"><span>|ω| 0 <i class="ramp"></i> {largest:.2f}</span>'
        '<span><i class="fixed"></i>cannot be removed</span>'
        '<span><i class="removed"></i>removed, with its round</span>'
        f"{later if tried else ''}</p>"
    )
