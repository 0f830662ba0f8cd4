"""The page of the committed benchmarks. Imports no framework."""

import json
import statistics

from experiments.bench.variants import VARIANTS
from experiments.pages.results import (
    head,
    markdown_table,
    short_commit,
    taken_by_others,
    with_range,
)

_FOLDED = "infer_folded"
_ABOUT = """`make bench` measures the machine that it runs on: the paper's CIFAR ResNet
(pre-activation, bottleneck, with ω) on random images, one model for all variants; with
`--unit_kind=basic` the field's common ResNet, of post-activation basic units.

- Variants are measured in turns, one at a time, each in a process of its own that
  compiles and warms up before it is timed. Numbers are medians over the rounds, with
  the smallest and the largest.
- *Times this package* is a ratio of speeds: above 1 is faster. It is taken within each
  round, against this package in the same precision on the same backend (in inference
  folded, PyTorch against TensorFlow). Variants of this package are compared with its
  float32 on TensorFlow.
- *This package* trains as its commands do: shuffling, augmentation, normalisation and
  metrics included, on uint8 images. *Plain Keras* is stock layers with `fit` and
  `predict` on normalised NumPy arrays, *PyTorch* the same network by hand, eager,
  channels last, on normalised tensors; both without augmentation. Bfloat16 is mixed
  precision: Keras's `mixed_bfloat16`, PyTorch's autocast. *Repeatable* is TensorFlow
  running one operation at a time, the default of the commands on a CPU.
- A measurement of training is one epoch, its set-up included. *Processor ms per image*
  leaves out waiting; threads that spin while they wait for each other are in it. *Peak
  memory* is that of the process up to the end of its training.
- The command of a record is that of its commit; flags may have changed since."""


def bench_page(records):
    """The page as text.

    Args:
        records: folder with the records, one JSON file a machine and kind of unit.
    """
    paths = sorted(records.glob("*.json"))
    sections = [section(json.loads(path.read_text("utf-8"))) for path in paths]
    text = head("How fast it is", "bench", _ABOUT)
    return "\n".join([text, *(sections or ["No record yet.\n"])])


def units_of(settings):
    """The kind of residual units that a record's settings state, or the paper's."""
    kind = settings.get("unit_kind", "bottleneck")
    return f"{settings.get('activation', 'pre')}-activation {kind}"


def speeds(record, name, measure):
    """Images per second of a variant, one number a round; empty if it failed."""
    return [_speed(each[name][measure]) for each in _rounds(record, (name, measure))]


def ratios(record, one, other):
    """How many times as fast `one` is as `other`, each a name and a measure."""
    return [
        _speed(each[one[0]][one[1]]) / _speed(each[other[0]][other[1]])
        for each in _rounds(record, one, other)
    ]


def _speed(times):
    return times["images"] / times["seconds"]


def _rounds(record, *pairs):
    """The rounds that measured every pair of a variant and a measure."""
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
        taken_by_others(results),
        _table("Training", record, ["train"]),
        _table("Inference", record, [_FOLDED, "infer"]),
        _absent(record),
    ]
    return "\n".join(filter(None, parts))


def _facts(record):
    net, machine = record["settings"], record["environment"]
    versions = {"python": machine["python"]}
    for variant in record["variants"].values():
        versions |= variant.get("versions", {})
    (parameters,) = {
        v["parameters"] for v in record["variants"].values() if "parameters" in v
    }
    devices = [device for device in record["devices"] if device != "cpu"]
    title = ", ".join([machine["cpu"], f"{machine['cores']} cores", *devices])
    size = net["image_size"]
    return (
        f"## {title}\n\n"
        f"ResNet-{net['depth']} of {units_of(net)} units, "
        f"{parameters:,} trainable parameters with ω, "
        f"{size}x{size} images, batch {net['batch_size']}; {len(record['rounds'])} "
        f"of {net['repeats']} rounds of {net['steps']} steps, {record['minutes']:g} "
        f"minutes, {record['started'][:10]}.\n\n"
        f"Command: `{record['command']}`\n\n"
        f"Versions: {', '.join(f'{k} {versions[k]}' for k in sorted(versions))}; "
        f"{machine['platform']}; commit "
        f"{short_commit(machine.get('commit', 'unknown'))}.\n"
    )


def _table(title, record, measures):
    rows = []
    for name, variant in VARIANTS.items():
        for measure in measures:
            found = _rounds(record, (name, measure))
            if not found:
                continue
            cpu = [
                1e3 * each[name][measure]["cpu_seconds"] / each[name][measure]["images"]
                for each in found
            ]
            against = ratios(record, (name, measure), (variant.reference, measures[0]))
            memory = record["variants"][name].get("train_memory_mb")
            folded = variant.path == "ours" and measure != "train"
            words = (", folded" if measure == _FOLDED else ", not folded") * folded
            row = [
                variant.title + words,
                with_range(speeds(record, name, measure), "{:,.1f}"),
                with_range(against, "{:.2f}") if against else "-",
                f"{statistics.median(cpu):.2f}",
                f"{memory / 1e3:.2f} GB" if memory else "-",
            ]
            rows.append(row if measure == "train" else row[:-1])
    if not rows:
        return ""
    columns = ["variant", "images/s", "times this package", "processor ms per image"]
    columns += ["peak memory"] * (measures == ["train"])
    return f"### {title}\n\n{markdown_table(columns, rows)}"


def _absent(record):
    lines = [
        f"- {VARIANTS[name].title}: {variant['status']}\n"
        for name, variant in record["variants"].items()
        if name in VARIANTS and variant["status"] != "measured"
    ]
    lines += [
        f"- {name}: in the record, of a comparison that is no longer made\n"
        for name in record["variants"]
        if name not in VARIANTS
    ]
    return f"### Not shown\n\n{''.join(lines)}" if lines else ""
