"""The page of the committed benchmarks. Imports no framework."""

import json
import statistics

from experiments.bench.numbers import Numbers, units_of
from experiments.bench.variants import DEFAULT, MEASURES, ROOT, named

RECORDS = ROOT / "records" / "bench"
_ALLOWED_OUTSIDE = 0.05
_IDLE = 0.05  # what others may take of an idle machine's processors
_NETS = {("ours", "infer_folded"): ", folded", ("ours", "infer"): ", not folded"}
# What of ours should be faster, and than what.
_OWN_PAIRS = [
    ((DEFAULT, "train"), (f"{DEFAULT}-before", "train")),
    (("ours-bfloat16", "train"), ("ours-bfloat16-before", "train")),
    (("ours-bfloat16", "train"), (DEFAULT, "train")),
    (("ours-bfloat16", "infer_folded"), (DEFAULT, "infer_folded")),
    ((DEFAULT, "infer_folded"), (DEFAULT, "infer")),
    ((DEFAULT, "train"), ("ours-jax-float32", "train")),
    ((DEFAULT, "infer_folded"), ("ours-jax-float32", "infer_folded")),
]

_HEAD = """# How fast it is

Made by `make reproduce-bench` from records/bench; do not edit. `make bench`
measures the machine it runs on: the paper's CIFAR ResNet (pre-activation, bottleneck,
with ω) on random images, one model for all variants; with `--unit_kind=basic
--activation=post` the field's common ResNet.

- Every variant has a process that stays, compiles and warms up; then they are measured
  in turns, one at a time. Numbers are medians over the rounds, with smallest and
  largest; ratios are taken within each round, of what ran side by side, and are
  speeds: above 1 is faster.
- *This package* trains as its commands do: shuffling, augmentation, normalisation and
  metrics included, on uint8 images. *Plain Keras* is stock layers with `fit` and
  `predict` on normalised NumPy arrays, *PyTorch* the same net by hand, eager, channels
  last, on normalised tensors; both without augmentation. Bfloat16 is mixed
  precision: Keras's `mixed_bfloat16`, PyTorch's autocast.
- *Before* is the version of this package in the checkout that `--before` names; its
  commit stands beside that of the other variants.
- *Of it in the kernel* is the share of the processor time that the system spent, mostly
  on page faults. *Peak memory* is that of a process that trains.
- *Repeatable* is TensorFlow running one operation at a time, the commands' default on
  a CPU.
- A measurement is one call of `fit` over one epoch, its set-up included. Processor
  time an image leaves out waiting, such as for a data pipeline; threads that spin while
  they wait for each other are in it.
"""


def bench_page(records=RECORDS):
    """The page as text.

    Args:
        records: folder with the records, one JSON file a machine.
    """
    paths = sorted(records.glob("*.json"))
    sections = [section(json.loads(path.read_text("utf-8"))) for path in paths]
    return "\n".join([_HEAD, *(sections or ["No record yet.\n"])])


def section(record):
    """The part of the page about one record."""
    numbers = Numbers(record)
    parts = [
        _facts(record),
        _company(numbers),
        _table("Training", numbers, ["train"], _training_extras(record, numbers)),
        _table("Inference", numbers, ["infer_folded", "infer"]),
        _outside(numbers),
        _not_ahead(numbers),
        _absent(record),
    ]
    return "\n".join(filter(None, parts))


def _facts(record):
    net, machine = record["settings"], record["environment"]
    versions = {"python": machine["python"]}
    for variant in record["variants"].values():
        versions |= variant.get("versions", {})
    known = [v for v in record["variants"].values() if "parameters" in v]
    devices = [device for device in record["devices"] if device != "cpu"]
    title = ", ".join([machine["cpu"], f"{machine['cores']} cores", *devices])
    size = net["image_size"]
    commit, *changed = machine.get("commit", "unknown").split(" ", 1)
    return (
        f"## {title}\n\n"
        f"ResNet-{net['depth']} of {units_of(net)} units, "
        f"{known[0]['parameters']:,} trainable parameters with ω, "
        f"{size}x{size} images, batch {net['batch_size']}; {len(record['rounds'])} "
        f"of {net['repeats']} rounds of {net['steps']} steps, {record['minutes']:g} "
        f"minutes, {record['started'][:10]}.\n\n"
        f"Command: `{record['command']}`\n\n"
        f"Versions: {', '.join(f'{k} {versions[k]}' for k in sorted(versions))}; "
        f"{machine['platform']}; commit "
        f"{' '.join([commit[:12], *changed])}{_earlier(record)}.\n"
    )


def _earlier(record):
    """The commit of the variants that `--before` measured, if there are any."""
    for name, variant in record["variants"].items():
        if named(name).is_before and "commit" in variant:
            commit, *changed = variant["commit"].split(" ", 1)
            return f"; before: {' '.join([commit[:12], *changed])}"
    return ""


def _company(numbers):
    """How busy the machine was with other things."""
    mean, most = numbers.elsewhere()
    if mean is None:
        return ""
    busy = " The machine was not idle." if mean > _IDLE else ""
    return (
        f"Other processes took {100 * mean:.0f} % of the processors meanwhile, "
        f"{100 * most:.0f} % in the worst measurement.{busy}\n"
    )


def _training_extras(record, numbers):
    """Columns of the training table that older records lack, by their titles."""

    def system(name):
        shares = numbers.each(
            name, "train", lambda m: m.get("system_seconds", 0) / m["cpu_seconds"]
        )
        return f"{100 * statistics.median(shares):.1f} %"

    def memory(name):
        return f"{record['variants'][name]['train_memory_mb'] / 1e3:.2f} GB"

    known = record["variants"].values()
    if not any("train_memory_mb" in variant for variant in known):
        return {}
    return {"of it in the kernel": system, "peak memory": memory}


def _table(title, numbers, measures, extras=None):
    reference = (DEFAULT, measures[0])
    against = f"times {named(DEFAULT).title}"
    if len(measures) > 1:
        against += ", folded"
    rows = []
    for variant in numbers.variants:
        for measure in measures:
            speeds = numbers.speeds(variant.name, measure)
            if not speeds:
                continue
            cpu = numbers.each(
                variant.name, measure, lambda m: 1000 * m["cpu_seconds"] / m["images"]
            )
            ratios = numbers.ratios((variant.name, measure), reference)
            row = [
                variant.title + _NETS.get((variant.path, measure), ""),
                f"{statistics.median(speeds):,.1f}",
                f"{min(speeds):,.1f}-{max(speeds):,.1f}",
                _with_range(ratios) if ratios else "-",
                f"{statistics.median(cpu):.2f}",
                *(value(variant.name) for value in (extras or {}).values()),
            ]
            rows.append(row)
    if not rows:
        return ""
    head = ["variant", "images/s", "range", against, "processor ms per image"]
    head += extras or {}
    lines = [head, ["---"] * len(head), *rows]
    return f"### {title}\n\n" + "".join(f"| {' | '.join(r)} |\n" for r in lines)


def _outside(numbers):
    lines = []
    for variant in numbers.variants:
        if variant.path == "ours":
            shares = numbers.each(variant.name, "train", lambda m: m["outside"])
            above = statistics.median(shares) >= _ALLOWED_OUTSIDE
            lines.append(
                f"- {variant.title}: {100 * statistics.median(shares):.1f} % "
                f"({100 * min(shares):.1f}-{100 * max(shares):.1f})"
                + (", above the aim\n" if above else "\n")
            )
    if not lines:
        return ""
    return (
        "### Outside the compiled step\n\nShare of an epoch's time that is not spent "
        "in the compiled training function "
        f"(aim: below {100 * _ALLOWED_OUTSIDE:g} %).\n\n" + "".join(lines)
    )


def _not_ahead(numbers):
    """A sentence on every comparison that does not come out as it should."""
    pairs = [
        ((variant.rival, ours), (variant.name, theirs))
        for variant in numbers.variants
        if variant.rival
        for ours, theirs in (("train", "train"), ("infer_folded", "infer"))
    ]
    pairs += _OWN_PAIRS
    sentences, ahead = [], 0
    for ours, theirs in pairs:
        ratios = numbers.ratios(theirs, ours)
        if not ratios:
            continue
        if max(ratios) < 1:
            ahead += 1
            continue
        clear = "" if min(ratios) > 1 else "no clear difference, "
        sentences.append(
            f"- {_named(*theirs)}: {clear}{_with_range(ratios)} times as fast as "
            f"{_named(*ours)}.\n"
        )
    if not sentences and not ahead:
        return ""
    which = "other" if sentences else "all"
    if ahead:
        sentences.append(
            f"- In {which} comparisons ({ahead}) we were ahead in every round.\n"
        )
    return (
        "### Where we are not ahead\n\n"
        "Peers against this package at the same precision (its inference folded), "
        "float32 against our bfloat16, the stock net against the folded one.\n\n"
        + "".join(sentences)
    )


def _named(name, measure):
    return f"{named(name).title}, {MEASURES[measure]}"


def _absent(record):
    lines = [
        f"- {named(name).title}: {variant['status']}\n"
        for name, variant in record["variants"].items()
        if variant["status"] != "measured"
    ]
    return "### Not measured\n\n" + "".join(lines) if lines else ""


def _with_range(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
