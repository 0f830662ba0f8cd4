"""The result of a run in sentences, and as a table for the terminal."""

from resprune_tf.report.run_records import RunRecords, short
from resprune_tf.runs.judging import format_paired
from resprune_tf.runs.paired import compare_correct
from resprune_tf.system.wording import counted


def format_rounds(rounds, final):
    """Returns the table of the rounds and the result as text.

    Args:
        rounds: the records of the rounds, dicts as in `rounds.jsonl` or `Round`s.
        final: dict as in `final.json`, or None while the run is unfinished.

    Returns:
        str: a line per round, of which the selected one is marked with `*`, a legend,
        the result in one sentence, and the paired tests.
    """
    rounds = [r if isinstance(r, dict) else r.line() for r in rounds]
    return format_run(RunRecords(rounds, final or {}))


def format_run(run):
    """`format_rounds` for `RunRecords`."""
    rounds = run.rounds
    if not rounds:
        return headline(run)
    head = ["", "round", "layers", "parameters", "%", "MACs", "%", *run.splits]
    table = [[*head, "seconds", "units removed"]]
    for r in rounds:
        share = {
            key: f"{100 * r[key] / rounds[0][key]:.1f}"
            for key in ("parameters", "macs")
        }
        table.append(
            [
                "*" if r is run.selected else "",
                *(str(r["round"]), str(r["layers"])),
                *(f"{r['parameters']:,}", share["parameters"]),
                *(short(r["macs"]), share["macs"]),
                *(run.show(run.monitored(r, split)) for split in run.splits),
                f"{r.get('seconds') or 0:,.1f}",
                ", ".join(r["removed"]) or "-",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    # The names of units are last and left-aligned, because their width varies most.
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
    """Returns the result of a run in one sentence."""
    if not run.rounds:
        return "Unfinished run: no round is finished yet."
    first, last = run.rounds[0], run.reported
    start = f"the initial model of {first['layers']} layers"
    if not run.selected:
        return (
            f"Unfinished run, no model selected yet: from {first['layers']} to "
            f"{last['layers']} layers by round {last['round']}; {_change(run, last)}."
        )
    smaller = [r for r in run.rounds if len(r["units"]) < len(first["units"])]
    if len(run.rounds) > 1 and not any(r["removed"] for r in run.rounds):
        return (
            f"Nothing was removed: {start} was retrained "
            f"{counted(len(run.rounds) - 1, 'time')}; "
            f"round {last['round']} was selected, {_change(run, last)}."
        )
    if last is not first:
        loss = ""
        if run.monitored(last) is not None and not run.within_tolerance(last):
            loss = f"; the initial {run.monitor} was not maintained"
        return (
            f"The model was pruned from {first['layers']} to {last['layers']} layers: "
            f"{', '.join(_savings(run))}; {_change(run, last)}{loss}."
        )
    if not smaller:
        return f"Nothing was removed: only {start} was trained; {_change(run)}."
    best = max(smaller, key=run.quality)
    if run.within_tolerance(best):
        return f"The run selected {start}; {_change(run)}."
    loss = "loss"
    if run.tolerance:
        loss = f"a loss of more than {run.tolerated}"
    return (
        f"Nothing could be removed without {loss}: {start} has "
        f"{run.show_full(run.initial)} {run.split} {run.monitor}, the best pruned one "
        f"({best['layers']} layers) {run.show_full(run.monitored(best))}."
    )


def _savings(run):
    """Yields the savings of the selected model compared with the initial one."""
    first, last = run.rounds[0], run.reported
    for key, word in (("macs", "MACs"), ("parameters", "parameters")):
        yield f"{100 * (1 - last[key] / first[key]):.1f} % fewer {word}"
    before, after = run.latency(first), run.latency(last)
    if before and after:
        word = "shorter" if after <= before else "longer"
        yield f"{100 * abs(1 - after / before):.1f} % {word} latency"


def _change(run, *last):
    """The monitored values of round 0, or of `last` compared with those of round 0."""
    parts = []
    for split in run.splits:
        values = [run.monitored(r, split) for r in (*last, run.rounds[0])]
        if None not in values:
            text = " instead of ".join(map(run.show_full, values))
            parts.append(f"{split} {run.monitor} {text}")
    images = run.examples("test")
    if last and paired(run, *last, "test"):
        images = None  # the paired test is more informative
    if images and run.in_percent and parts and parts[-1].startswith("test"):
        point = counted(float(f"{100 / images:.2g}"), "percentage point")
        parts[-1] += f" ({images:,} test images: 1 image is {point})"
    if parts and run.split == "test":
        parts[-1] += ", selected on the test set and so optimistic"
    return ", ".join(parts) or f"no {run.monitor} recorded"


def paired(run, record, split):
    """`compare_correct` of round 0 and another one on a split; None if not recorded."""
    first = run.rounds[0]
    known = [run.correct(r, split) for r in (first, record)]
    if record is first or None in known or not run.examples(split):
        return None
    return compare_correct(*known)


def paired_tests(run):
    """McNemar's test of the initial and the selected model per split, as sentences."""
    return [
        f"{split.capitalize()}: {format_paired(found, run.examples(split))}."
        for split in run.splits
        if run.selected and (found := paired(run, run.selected, split))
    ]


def rule(run):
    """The rule by which the model was selected, as the end of a sentence.

    Empty if the selected model does not satisfy it, as is possible without retraining.
    """
    if not run.within_tolerance(run.selected):
        return ""
    bound, word = ("at most", "plus") if run.smaller_is_better else ("at least", "less")
    tolerated = f" {word} {run.tolerated}" if run.tolerance else ""
    limit = f"{bound} the initial {run.show_full(run.initial)}{tolerated}"
    measure = f"{run.split} {run.monitor}"
    pruned = [r for r in run.rounds if len(r["units"]) < len(run.rounds[0]["units"])]
    if pruned and not any(map(run.within_tolerance, pruned)):
        return f", because no pruned model has a {measure} of {limit}"
    return f", the smallest model whose {measure} is {limit}"
