"""The page of well-known models: units, exactness, latency. No TensorFlow."""

import json

from experiments.pages.library import counted
from experiments.pages.results import NotRun, Result, head, markdown_table

COMMAND = "python -m experiments.zoo"
_ABOUT = """Which residual units the package finds in models that it did not build,
whether it removes them exactly, and what that saves. Weights are random, so nothing
here is about accuracy. One model of each kind (n = 1).

- *Units*: found by `find_units`. *Removable*: those with an identity shortcut.
- *Cheapest third*: the third of the removable units (rounded down, at least one) whose
  removal saves the fewest multiply-accumulates (MACs). Removing as many other units
  saves at least as much.
- *Difference after removal*: outputs of the pruned model compared with those of the
  full model with the removed branches multiplied by ω = 0. *After insertion*: outputs
  with ω = 1 on every branch compared with those of the model itself. *Effect*: outputs
  without the cheapest third compared with those of the full model. All three are the
  largest absolute difference divided by the largest output; 0 means identical."""
_LATENCY = """
## Latency compared with MACs

Full and pruned models are folded, exported and timed in turns in their runtime, in a
process without Keras; batch 1, one thread. Latency is the median of the ratios of
paired calls in % of the full model, with the 10th and 90th percentiles. The difference
to the MACs in percentage points shows how much of the theoretical saving is realised.
"""


def make(records):
    """The page; None without records."""
    not_run = NotRun()
    path = records / "zoo" / "units.json"
    timed = sorted((records / "zoo").glob("latency-*.json"))
    if not path.exists() and not timed:
        return None
    text = head("Units of well-known models", "zoo", _ABOUT)
    if path.exists():
        text += _units(json.loads(path.read_text("utf-8")))
    else:
        text += f"\nUnits: {not_run.cell(COMMAND)}\n"
    text += _LATENCY
    for path in timed:
        text += _latency(json.loads(path.read_text("utf-8")))
    if not timed:
        text += f"\nLatency: {not_run.cell(f'{COMMAND} --latency')}\n"
    return Result("zoo", text + not_run.listing())


def _units(record):
    columns = [
        "model",
        "input",
        "units",
        "removable",
        "MACs, G",
        "MACs saved: cheapest third",
        "all removable",
        "difference after removal",
        "after insertion",
        "effect",
        "seconds to find, to remove",
    ]
    rows = [_row(name, net) for name, net in record["nets"].items()]
    return (
        f"\n{markdown_table(columns, rows)}\n{_notes(record)}"
        f"\nCommand: `{record['command']}`, on {_machine(record)}; "
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
        *(
            f"{100 - 100 * each['macs'] / full:.1f} % "
            f"({counted(each['removed'], 'unit')})"
            for each in both
        ),
        f"{max(each['difference_to_silenced'] for each in both):.1g}",
        f"{net['difference_inserted']:.1g}",
        f"{net['third']['difference_to_full']:.1g}",
        f"{net['seconds_to_find']:.2f}, {net['third']['seconds_to_remove']:.1f}",
    ]


def _notes(record):
    lines = []
    for name, net in record["nets"].items():
        facts = []
        if net["opened"]:
            facts.append("its blocks are layers, opened with `expand`")
        if net["opaque"]:
            facts.append(f"not opened: {', '.join(net['opaque'])}")
        if net["full"]["uncounted"]:
            facts.append(f"MACs not counted: {', '.join(net['full']['uncounted'])}")
        if not net["units"]:
            facts.append("no residual units: it concatenates and never adds")
        if facts:
            lines.append(f"- {name}: {'; '.join(facts)}.\n")
    return "".join(lines)


def _latency(record):
    columns = ["model, runtime", "full, ms", "without", "MACs, %", "latency, %"]
    columns.append("difference, percentage points")
    rows = []
    for name, timed in record["nets"].items():
        for key, title in (("third", "cheapest third"), ("all", "all removable")):
            found = timed[key]
            ratio = {key: 100 * value for key, value in found["ratio"].items()}
            difference = found["ratio"]["median"] - found["macs_ratio"]
            rows.append(
                [
                    name,
                    f"{timed['full']['median_ms']:.1f}",
                    title,
                    f"{100 * found['macs_ratio']:.1f}",
                    f"{ratio['median']:.1f} ({ratio['p10']:.1f}-{ratio['p90']:.1f})",
                    f"{100 * difference:+.1f}",
                ]
            )
    runs = {timed["runs"] for timed in record["nets"].values()}
    return (
        f"\n### {_machine(record)}\n\n{markdown_table(columns, rows)}\n"
        f"Command: `{record['command']}`; n = {'/'.join(map(str, sorted(runs)))} "
        f"paired calls; {_versions(record)}.\n"
    )


def _machine(record):
    facts = record["environment"]
    return f"{facts['cpu']}, {facts['cores']} processors"


def _versions(record):
    facts = record["environment"]
    names = ("keras", "tensorflow", "keras-hub", "ai-edge-litert", "onnxruntime")
    return ", ".join(f"{name} {facts[name]}" for name in names if name in facts)
