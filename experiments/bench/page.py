"""The page of the committed benchmarks. Imports no framework."""

import json

from experiments.bench.recorded import recorded_runs
from experiments.bench.variants import VARIANTS
from experiments.pages.results import (
    background_load,
    head,
    markdown_table,
    short_commit,
    with_range,
)

_FOLDED = "infer_folded"
_ABOUT = """Speed of this package compared with plain Keras and PyTorch. The model is
the CIFAR ResNet of the paper (pre-activation bottleneck units, with ω) or the common
one (post-activation basic units). `make bench` measures it on your machine.

- Variants run in turns, each in a process of its own that compiles and warms up first.
  Numbers are medians over the rounds, with the smallest and the largest in parentheses.
- *Times this package*: speed relative to this package in the same round, precision and
  backend (PyTorch: TensorFlow); above 1 is faster. Variants of this package are
  relative to its float32 on TensorFlow. In inference this package is *folded*: ω and
  BatchNormalization are part of the convolutions.
- *This package* trains as its commands do, on uint8 images with shuffling,
  augmentation, normalisation and metrics. *Plain Keras* uses stock layers with `fit`
  and `predict`, *PyTorch* the same model in eager mode with channels last. The last two
  get normalised images and do not augment them. bfloat16 is mixed precision. The
  commands of this package turn on oneDNN; plain Keras leaves that to TensorFlow.
  *Repeatable*: TensorFlow runs one operation at a time, the default of the commands on
  a CPU.
- One measurement of training is an epoch with its set-up. Processor times are in the
  records."""
_SUMMARY = """Speed of this package divided by that of the other, in the same round and
precision: median over n rounds, with the smallest and the largest. Above 1, this
package is faster.
"""
_PEERS = {"plain Keras": "keras", "PyTorch": "torch"}


def bench_page(records):
    """The text of the page; None without records.

    Args:
        records: folder of the records, one JSON file per machine and kind of unit. The
            folder that contains it has the records of runs.
    """
    paths = sorted(records.glob("*.json"))
    found = [json.loads(path.read_text("utf-8")) for path in paths]
    if not found:
        return None
    parts = [head("Speed of training and inference", "bench", _ABOUT)]
    if rows := [row for record in found for row in _compared(record)]:
        columns = ["machine", "units", "precision", "compared with", "n"]
        table = markdown_table([*columns, "training", "inference"], rows)
        parts.append(f"## Summary\n\n{_SUMMARY}\n{table}")
    if text := recorded_runs(records.parent):
        parts.append(text)
    return "\n".join([*parts, *map(section, found)])


def _compared(record):
    """Rows of the summary: this package on TensorFlow compared with the others."""
    for precision in ("float32", "bfloat16"):
        for title, peer in _PEERS.items():
            ours, theirs = f"ours-{precision}", f"{peer}-{precision}"
            train = ratios(record, (ours, "train"), (theirs, "train"))
            infer = ratios(record, (ours, _FOLDED), (theirs, "infer"))
            if train and infer:
                yield [
                    _machine(record),
                    units_of(record["settings"]).split()[-1],
                    precision,
                    title,
                    str(len(train)),
                    with_range(train, "{:.1f}"),
                    with_range(infer, "{:.1f}"),
                ]


def _machine(record):
    machine = record["environment"]
    devices = [device for device in record["devices"] if device != "cpu"]
    return ", ".join([machine["cpu"], f"{machine['cores']} cores", *devices])


def units_of(settings):
    """The kind of residual units of a record; by default that of the paper."""
    kind = settings.get("unit_kind", "bottleneck")
    return f"{settings.get('activation', 'pre')}-activation {kind}"


def speeds(record, name, measure):
    """Images per second of a variant in each round; empty if it failed."""
    return [_speed(each[name][measure]) for each in _rounds(record, (name, measure))]


def ratios(record, one, other):
    """Speed of `one` divided by that of `other`, each a variant and a measure."""
    return [
        _speed(each[one[0]][one[1]]) / _speed(each[other[0]][other[1]])
        for each in _rounds(record, one, other)
    ]


def _speed(times):
    return times["images"] / times["seconds"]


def _rounds(record, *pairs):
    """The rounds in which all pairs of a variant and a measure were measured."""
    if any(record["variants"].get(n, {}).get("status") != "measured" for n, _ in pairs):
        return []
    return [
        each
        for each in record["rounds"]
        if all(measure in each.get(name, ()) for name, measure in pairs)
    ]


def section(record):
    """The part of the page about one record."""
    results = [
        times
        for each in record["rounds"]
        for name in VARIANTS
        for times in each.get(name, {}).values()
    ]
    parts = [
        _facts(record),
        background_load(results),
        _table("Training", record, ["train"]),
        _table("Inference", record, [_FOLDED, "infer"]),
        _absent(record),
    ]
    return "\n".join(filter(None, parts))


def _facts(record):
    settings, machine = record["settings"], record["environment"]
    versions = {"python": machine["python"]}
    for variant in record["variants"].values():
        versions |= variant.get("versions", {})
    (parameters,) = {
        v["parameters"] for v in record["variants"].values() if "parameters" in v
    }
    size = settings["image_size"]
    return (
        f"## {_machine(record)}: {units_of(settings).split()[-1]} units\n\n"
        f"ResNet-{settings['depth']} of {units_of(settings)} units, "
        f"{parameters:,} trainable parameters with ω, "
        f"{size}x{size} images, batch {settings['batch_size']}; "
        f"{len(record['rounds'])} of {settings['repeats']} rounds of "
        f"{settings['steps']} steps, {record['minutes']:g} minutes, "
        f"{record['started'][:10]}.\n\n"
        f"Command: `{record['command']}` at commit "
        f"{short_commit(machine.get('commit', 'unknown'))}. "
        f"{', '.join(f'{k} {versions[k]}' for k in sorted(versions))}; "
        f"{machine['platform']}.\n"
    )


def _table(title, record, measures):
    rows = []
    for name, variant in VARIANTS.items():
        for measure in measures:
            found = _rounds(record, (name, measure))
            if not found:
                continue
            against = ratios(record, (name, measure), (variant.reference, measures[0]))
            memory = record["variants"][name].get("train_memory_mb")
            folded = variant.path == "ours" and measure != "train"
            words = (", folded" if measure == _FOLDED else ", not folded") * folded
            row = [
                variant.title + words,
                with_range(speeds(record, name, measure), "{:,.1f}"),
                with_range(against, "{:.2f}") if against else "-",
                f"{memory / 1e3:.2f} GB" if memory else "-",
            ]
            rows.append(row)
    if not rows:
        return ""
    if measures != ["train"] or all(row[-1] == "-" for row in rows):
        rows = [row[:-1] for row in rows]
    columns = ["variant", "images/s", "times this package"]
    columns += ["peak memory"] * (len(rows[0]) > len(columns))
    return f"### {title}\n\n{markdown_table(columns, rows)}"


def _absent(record):
    failed = [
        f"{VARIANTS[name].title}: {variant['status']}"
        for name, variant in record["variants"].items()
        if name in VARIANTS and variant["status"] != "measured"
    ]
    old = [name for name in record["variants"] if name not in VARIANTS]
    failed += [f"{', '.join(old)}: no longer compared"] if old else []
    return f"Not shown: {'; '.join(failed)}.\n" if failed else ""
