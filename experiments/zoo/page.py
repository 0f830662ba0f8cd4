"""The page of well-known nets: units found, exactness, latency. No TensorFlow."""

import json

from experiments.pages.results import RECORDS, NotRun, Result, head, markdown_table

COMMAND = "python -m experiments.zoo"
_ABOUT = """Which residual units the package finds in nets that it has not built, how
exactly it removes them, and what that saves. Weights are random, with statistics of
BatchNormalization to match: nothing here is about accuracy.

*Units* are what `find_units` finds; *removable* have an identity shortcut. The
*cheapest third* are the removable units, a third of them rounded down but at least one,
whose removal saves the fewest multiply-accumulates: the least that a removal of that
many units saves. *Difference to silenced* is how far the shortened net's outputs are
from those of the net whose branches are multiplied by ω = 0, *inserted* how far the net
with ω = 1 on every branch is from the net itself; both relative to the largest output,
over both removals. *Effect* is how much the third changes the outputs."""
_LATENCY = """
## Latency beside MACs

Full and shortened nets are folded, exported and called in turns by the runtime itself,
in a process without Keras; batch 1, one thread. The ratio is the median over the turns,
with the 10th and 90th percentile. The closer it is to the ratio of the MACs, the more
of what removal saves is saved for real.
"""


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    not_run = NotRun()
    path = records / "zoo" / "units.json"
    text = head("Units of well-known nets", "zoo", _ABOUT)
    if path.exists():
        text += _units(json.loads(path.read_text("utf-8")))
    else:
        text += f"\nUnits: {not_run.cell(COMMAND)}\n"
    text += _LATENCY
    timed = sorted((records / "zoo").glob("latency-*.json"))
    for path in timed:
        text += _latency(json.loads(path.read_text("utf-8")))
    if not timed:
        text += f"\nLatency: {not_run.cell(f'{COMMAND} --latency')}\n"
    return Result("zoo", text + not_run.listing())


def _units(record):
    columns = [
        "net",
        "input",
        "units",
        "removable",
        "MACs, G",
        "MACs saved by the cheapest third",
        "by all",
        "difference to silenced",
        "inserted",
        "effect",
        "seconds to find, to remove",
    ]
    rows = [_row(name, net) for name, net in record["nets"].items()]
    return (
        f"\n{markdown_table(columns, rows)}\n{_notes(record)}"
        f"\nCommand: `{record['command']}`, on {_machine(record)}; of versions: "
        f"{_versions(record)}.\n"
    )


def _row(name, net):
    full = net["full"]["macs"]
    row = [
        name,
        "×".join(map(str, net["input"])),
        str(net["units"]),
        str(net["removable"]),
        f"{full / 1e9:.2f}" if full > 5e7 else f"{full / 1e9:.3f}",
    ]
    if not net["removable"]:
        return [*row, *["-"] * 5, f"{net['seconds_to_find']:.2f}, -"]
    both = net["third"], net["all"]
    return [
        *row,
        *(f"{1 - each['macs'] / full:.1%} ({_units_of(each)})" for each in both),
        f"{max(each['difference_to_silenced'] for each in both):.1g}",
        f"{net['difference_inserted']:.1g}",
        f"{net['third']['difference_to_full']:.1g}",
        f"{net['seconds_to_find']:.2f}, {net['third']['seconds_to_remove']:.1f}",
    ]


def _units_of(removal):
    return f"{removal['removed']} unit{'s' if removal['removed'] > 1 else ''}"


def _notes(record):
    lines = []
    for name, net in record["nets"].items():
        facts = []
        if net["opened"]:
            facts.append("its blocks are layers, opened by `expand`")
        if net["opaque"]:
            facts.append(f"not looked into: {', '.join(net['opaque'])}")
        if net["full"]["uncounted"]:
            facts.append(f"MACs not counted: {', '.join(net['full']['uncounted'])}")
        if not net["units"]:
            facts.append("it concatenates and never adds, so it has no residual unit")
        if facts:
            lines.append(f"- {name}: {'; '.join(facts)}.\n")
    return "".join(lines)


def _latency(record):
    columns = ["net, runtime", "full, ms", "without", "MACs", "latency", "points apart"]
    rows = []
    for name, timed in record["nets"].items():
        for key, title in (("third", "the cheapest third"), ("all", "all removable")):
            found = timed[key]
            ratio = found["ratio"]
            rows.append(
                [
                    name,
                    f"{timed['full']['median_ms']:.1f}",
                    title,
                    f"{found['macs_ratio']:.1%}",
                    f"{ratio['median']:.1%} ({ratio['p10']:.1%}-{ratio['p90']:.1%})",
                    f"{100 * (ratio['median'] - found['macs_ratio']):+.1f}",
                ]
            )
    runs = {timed["runs"] for timed in record["nets"].values()}
    return (
        f"\n### {_machine(record)}\n\n{markdown_table(columns, rows)}\n"
        f"Command: `{record['command']}`; {'/'.join(map(str, sorted(runs)))} turns; "
        f"of versions: {_versions(record)}.\n"
    )


def _machine(record):
    facts = record["environment"]
    return f"{facts['cpu']}, {facts['cores']} processors"


def _versions(record):
    facts = record["environment"]
    names = ("keras", "tensorflow", "keras-hub", "ai-edge-litert", "onnxruntime")
    return ", ".join(f"{name} {facts[name]}" for name in names if name in facts)
