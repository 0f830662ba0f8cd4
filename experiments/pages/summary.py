"""What a run came to: one honest sentence, and a table for the terminal."""

from experiments.pages.run_records import RunRecords


def format_rounds(rounds, final):
    """The table of the rounds in plain text, and what they achieved.

    Args:
        rounds: the records of the rounds, dicts as in `rounds.jsonl` or `Round`s.
        final: the record of the end of the run, or None while it is unfinished.

    Returns:
        str: a line a round, the selected one marked with `*`, a legend and a sentence.
    """
    rounds = [r if isinstance(r, dict) else r.line() for r in rounds]
    run = RunRecords(rounds, final or {})
    if not rounds:
        return headline(run)
    head = ["", "round", "layers", "parameters", "%", "MACs", "%", *run.splits]
    table = [[*head, "seconds", "units removed"]]
    for r in rounds:
        of = {
            key: f"{100 * r[key] / rounds[0][key]:.1f}"
            for key in ("parameters", "macs")
        }
        table.append(
            [
                "*" if r is run.selected else "",
                *(str(r["round"]), str(r["layers"])),
                *(f"{r['parameters']:,}", of["parameters"]),
                *(short(r["macs"]), of["macs"]),
                *(run.show(run.watched(r, split)) for split in run.splits),
                f"{r.get('seconds') or 0:,.1f}",
                ", ".join(r["removed"]) or "-",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    # The names come last and flush left: their width varies most.
    lines = ["  ".join([*map(str.rjust, row, widths[:-1]), row[-1]]) for row in table]
    measured = "accuracies in %" if run.in_percent else f"{run.monitor} as measured"
    legend = f"Parameters and MACs also in % of the initial net; {measured}."
    if run.selected:
        legend = f"* selected{rule(run)}. {legend}"
    note = [f"Note: {run.final['note']}"] if run.final.get("note") else []
    diverged = run.final.get("diverged")
    warning = [f"WARNING: {diverged['reason']}"] if diverged else []
    return "\n".join([*lines, "", legend, headline(run), *warning, *note])


def headline(run):
    """What a run achieved, in one honest sentence."""
    if not run.rounds:
        return "Unfinished run: no round is finished yet."
    first, net = run.rounds[0], run.net
    start = f"the initial net of {first['layers']} layers"
    if not run.selected:
        return (
            f"Unfinished run, no net selected yet: {first['layers']} -> "
            f"{net['layers']} layers by round {net['round']}; {_change(run, net)}."
        )
    shorter = [r for r in run.rounds if r["layers"] < first["layers"]]
    if len(run.rounds) > 1 and not any(r["removed"] for r in run.rounds):
        return (
            f"Nothing was removed: {start} was retrained {len(run.rounds) - 1} times; "
            f"round {net['round']} was selected, {_change(run, net)}."
        )
    if net is not first:
        fewer = ", ".join(
            f"{100 * (1 - net[key] / first[key]):.1f} % fewer {word}"
            for key, word in (("macs", "MACs"), ("parameters", "parameters"))
        )
        loss = "" if run.holds(net) else f"; the initial {run.monitor} was not kept"
        return (
            f"{first['layers']} -> {net['layers']} layers: {fewer}; "
            f"{_change(run, net)}{loss}."
        )
    if not shorter:
        return f"Nothing was removed: only {start} was trained; {_change(run)}."
    best = max(shorter, key=run.worth)
    if run.holds(best):
        return f"The run selected {start}; {_change(run)}."
    loss = f"a loss above {run.tolerated}" if run.tolerance else "loss"
    return (
        f"Nothing could be removed without {loss}: {start} has "
        f"{run.tell(run.initial)} {run.split} {run.monitor}, the best shorter one "
        f"({best['layers']} layers) {run.tell(run.watched(best))}."
    )


def _change(run, *net):
    """What is monitored in the first round and, after an arrow, in another one."""
    parts = []
    for split in run.splits:
        values = [run.watched(r, split) for r in (run.rounds[0], *net)]
        if None not in values:
            arrow = " -> ".join(map(run.tell, values))
            parts.append(f"{split}{'' if parts else f' {run.monitor}'} {arrow}")
    images = run.examples("test")
    if images and run.in_percent and parts and parts[-1].startswith("test"):
        point = f"{100 / images:.2g}"
        parts[-1] += f" ({images:,} test images: 1 image is {point} points)"
    if parts and run.split == "test":
        parts[-1] += ", selected on the test set and so optimistic"
    return ", ".join(parts) or f"no {run.monitor} recorded"


def rule(run):
    """What the selected net is the smallest of; empty if it breaks the rule."""
    if not run.holds(run.selected):
        return ""
    bound, word = ("at most", "plus") if run.falls else ("at least", "less")
    tolerated = f" {word} {run.tolerated}" if run.tolerance else ""
    return (
        f", the smallest net whose {run.split} {run.monitor} is {bound} the initial "
        f"{run.tell(run.initial)}{tolerated}"
    )


def percent(fraction):
    """An accuracy in %, without the sign."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def short(count, digits=2):
    """A count with its order of magnitude: 84068864 is `84.07 M`."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= power:
            return f"{count / power:.{digits}f} {letter}"
    return str(count)
