"""What a run achieved: in sentences, and as a table for the terminal."""

from resprune_tf.report.run_records import RunRecords, short
from resprune_tf.runs.judging import compare_correct, format_paired
from resprune_tf.system.wording import counted


def format_rounds(rounds, final):
    """The table of the rounds in plain text, and what they achieved.

    Args:
        rounds: the records of the rounds, dicts as in `rounds.jsonl` or `Round`s.
        final: the record of the end of the run, or None while it is unfinished.

    Returns:
        str: a line for each round, the selected one marked with `*`, a legend, a
        sentence and the paired tests.
    """
    rounds = [r if isinstance(r, dict) else r.line() for r in rounds]
    return format_run(RunRecords(rounds, final or {}))


def format_run(run):
    """As `format_rounds`, of `RunRecords`."""
    rounds = run.rounds
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
    legend = f"Parameters and MACs also in % of the initial model; {measured}."
    if run.selected:
        legend = f"* selected{rule(run)}. {legend}"
    note = [f"Note: {run.final['note']}"] if run.final.get("note") else []
    diverged = run.final.get("diverged")
    warning = [f"WARNING: {diverged['reason']}"] if diverged else []
    tests = paired_tests(run)
    return "\n".join([*lines, "", legend, headline(run), *tests, *warning, *note])


def headline(run):
    """What a run achieved, in one sentence."""
    if not run.rounds:
        return "Unfinished run: no round is finished yet."
    first, net = run.rounds[0], run.net
    start = f"the initial model of {first['layers']} layers"
    if not run.selected:
        return (
            f"Unfinished run, no model selected yet: from {first['layers']} to "
            f"{net['layers']} layers by round {net['round']}; {_change(run, net)}."
        )
    smaller = [r for r in run.rounds if len(r["units"]) < len(first["units"])]
    if len(run.rounds) > 1 and not any(r["removed"] for r in run.rounds):
        return (
            f"Nothing was removed: {start} was retrained {len(run.rounds) - 1} times; "
            f"round {net['round']} was selected, {_change(run, net)}."
        )
    if net is not first:
        loss = ""
        if run.watched(net) is not None and not run.holds(net):
            loss = f"; the initial {run.monitor} was not maintained"
        return (
            f"The model was pruned from {first['layers']} to {net['layers']} layers: "
            f"{', '.join(_savings(run))}; {_change(run, net)}{loss}."
        )
    if not smaller:
        return f"Nothing was removed: only {start} was trained; {_change(run)}."
    best = max(smaller, key=run.worth)
    if run.holds(best):
        return f"The run selected {start}; {_change(run)}."
    loss = "loss"
    if run.tolerance:
        loss = f"a loss of more than {run.tolerated}"
    return (
        f"Nothing could be removed without {loss}: {start} has "
        f"{run.tell(run.initial)} {run.split} {run.monitor}, the best pruned one "
        f"({best['layers']} layers) {run.tell(run.watched(best))}."
    )


def _savings(run):
    """What the selected model costs less than the initial one."""
    first, net = run.rounds[0], run.net
    for key, word in (("macs", "MACs"), ("parameters", "parameters")):
        yield f"{100 * (1 - net[key] / first[key]):.1f} % fewer {word}"
    before, after = run.latency(first), run.latency(net)
    if before and after:
        word = "shorter" if after <= before else "longer"
        yield f"{100 * abs(1 - after / before):.1f} % {word} latency"


def _change(run, *net):
    """What is monitored in the first round, or in another one instead of the first."""
    parts = []
    for split in run.splits:
        values = [run.watched(r, split) for r in (*net, run.rounds[0])]
        if None not in values:
            told = " instead of ".join(map(run.tell, values))
            parts.append(f"{split} {run.monitor} {told}")
    images = run.examples("test")
    if net and paired(run, *net, "test"):
        images = None  # the paired test says how much so many images show
    if images and run.in_percent and parts and parts[-1].startswith("test"):
        point = counted(float(f"{100 / images:.2g}"), "percentage point")
        parts[-1] += f" ({images:,} test images: 1 image is {point})"
    if parts and run.split == "test":
        parts[-1] += ", selected on the test set and so optimistic"
    return ", ".join(parts) or f"no {run.monitor} recorded"


def paired(run, record, split):
    """What `compare_correct` finds of the first round and another one, or None."""
    first = run.rounds[0]
    known = [run.correct(r, split) for r in (first, record)]
    if record is first or None in known or not run.examples(split):
        return None
    return compare_correct(*known)


def paired_tests(run):
    """Sentences: McNemar's test of the initial and the selected model on each split."""
    return [
        f"{split.capitalize()}: {format_paired(found, run.examples(split))}."
        for split in run.splits
        if run.selected and (found := paired(run, run.selected, split))
    ]


def rule(run):
    """What the selected model is the smallest of; empty if it breaks the rule."""
    if not run.holds(run.selected):
        return ""
    bound, word = ("at most", "plus") if run.falls else ("at least", "less")
    tolerated = f" {word} {run.tolerated}" if run.tolerance else ""
    return (
        f", the smallest model whose {run.split} {run.monitor} is {bound} the initial "
        f"{run.tell(run.initial)}{tolerated}"
    )
