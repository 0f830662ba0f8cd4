"""What the benchmark of several seeds comes to: its table and its conclusion."""

# The most telling first. The second `reuse` finds what the first one compiled. Its two
# nets have lost as many units of each stage, but others: XLA is given the same program.
PARTS = {
    "masks": "side by side",
    "removal": "one after another",
    "one mask": "one net in the program of side by side",
    "stock mask": "one net in that program, stock convolutions",
    "reuse": "as many units in each stage, compilation cache",
    "reuse again": "the same in another process",
}
_WHOLE = {"reuse": "one after another, compilation cache, at best"}


def conclusion(record):
    """Seconds that the whole experiment would take, as far as parts are measured.

    With the compilation cache it is the least: all seeds lose units of the same stages.
    """
    parts = {name: part["measured"] for name, part in record["parts"].items()}
    told = record["settings"]
    seeds, rounds = told["members"], told["rounds"]
    later = rounds * told["round_epochs"]
    found = {}
    if len(removal := parts.get("removal", [])) > 1:
        whole, *short = removal
        training = seeds * (
            told["first_epochs"] * whole["epoch"] + later * _mean(short, "epoch")
        )
        compiling = (rounds + 1) * _compiling(removal)
        found["removal"] = training + seeds * compiling
        if len(reuse := parts.get("reuse", [])) > 1:
            again = (rounds + 1) * _compiling(reuse[1:])
            found["reuse"] = training + compiling + (seeds - 1) * again
    for name, at_once in (("masks", seeds), ("one mask", 1), ("stock mask", 1)):
        if len(measured := parts.get(name, [])) > 1:
            first, again = measured
            turns = seeds // at_once
            found[name] = (
                _compiling([first])
                + turns * rounds * _compiling([again])
                + turns * (told["first_epochs"] + later) * _mean(measured, "epoch")
            )
    return {name: round(seconds, 1) for name, seconds in found.items()}


def _mean(lines, name):
    return sum(line[name] for line in lines) / len(lines)


def _compiling(lines):
    """Of training and measuring. What is not compiled may come out below 0."""
    return max(0, _mean(lines, "compile") + _mean(lines, "evaluate_compile"))


def table(record):
    """What was measured, and the conclusion, as text."""
    told = record["settings"]
    lines = [
        f"ResNet-{told['depth']}, width {told['width']}, {told['members']} seeds, "
        f"batches of {told['batch_size']}, {told['steps']} steps an epoch, "
        f"{told['precision']}, on {record.get('device', 'an unknown device')}.",
        "",
        f"{'Seconds':58}{'compile':>9}{'epoch':>9}{'measure: compile':>18}{'run':>7}",
    ]
    for name, part in record["parts"].items():
        if part["status"] != "measured":
            lines.append(f"{PARTS[name]}: {part['status']}")
        for line in part["measured"]:
            lines.append(
                f"{PARTS[name] + ', {units} units'.format(**line):58}"
                f"{line['compile']:9.2f}{line['epoch']:9.3f}"
                f"{line['evaluate_compile']:18.2f}{line['evaluate']:7.2f}"
            )
    if found := record["conclusion"]:
        lines += [
            "",
            f"Whole experiment ({told['first_epochs']} epochs, then {told['rounds']} "
            f"rounds of {told['round_epochs']}; {told['members']} seeds), minutes:",
        ]
        best = min(found, key=found.get)
        for name, seconds in found.items():
            title = _WHOLE.get(name, PARTS[name])
            lines.append(
                f"  {title:56}{seconds / 60:9.1f}"
                + ("  fastest" if name == best and len(found) > 1 else "")
            )
    return "\n".join(lines)
