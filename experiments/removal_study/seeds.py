"""Several models of one run: means over seeds. No TensorFlow."""

import itertools
import math
import statistics

from experiments.pages.cells import spread
from experiments.pages.differences import mean_interval, summarize
from experiments.pages.results import markdown_table, short_commit
from experiments.removal_study.methods import (
    HARMS,
    KINDS,
    best_rank,
    correlation,
    label,
    mean_rank,
    random_set_rank,
    rank_correlation,
)

OMEGA = "importance"  # the criterion that scores units by |ω|
_MEASURED = {"orders", "random sets", "greedy search"}  # parts of a study
_BRIEF = 5  # units removed in the summary for the overview
_COUNTS = range(1, 9)  # numbers of removed units whose percentiles are stated
_ABOUT = """{n} models of [{run}](records.md) with different seeds: {layers} layers,
{units} removable units, trained with ω on {data}. Criteria scored on {scored:,}
training images, recalibration used {again:,}, and accuracies are measured on {test:,}
test images. All cells are means over the models.

*Percentile*: averaged over 1 to {most} removed units. *Minus that of |ω|*: difference
between the percentiles for the same model. *Accuracy lost*, *cross entropy gained*:
Spearman's rank correlation of the scores with that change without each unit. Brackets
contain 95 % t intervals over the models."""


def by_run(networks):
    """Lists of `Network`s: a list for each run, whose seeds are together.

    Of several seeds, only those are taken whose sets are all measured.
    """
    found = []
    for _, group in itertools.groupby(networks, key=lambda network: network.run):
        group = list(group)
        measured = [n for n in group if _MEASURED <= n.record["parts"].keys()]
        found.append(measured or group[:1])
    return found


def whole(number):
    """A number without decimals, or `-` for NaN."""
    return "-" if math.isnan(number) else f"{number:.0f}"


def seeds_section(networks):
    """The section of several models of a run.

    Args:
        networks: list of `Network`s with different seeds.
    """
    first, n = networks[0], len(networks)
    facts, settings = first.record["network"], first.settings
    about = _ABOUT.format(
        n=n,
        run=first.run,
        layers=facts["layers"],
        units=len(first.units),
        data=_data(first),
        scored=settings["scored_on"],
        again=settings["recalibrated_on"],
        test=facts["test_images"],
        most=first.most,
    )
    columns = "criterion", *(f"percentile, {kind}" for kind in KINDS)
    columns += (f"minus that of |ω|, {KINDS[-1]}",)
    columns += tuple(f"{what}, {kind}" for what in HARMS for kind in KINDS)
    rows = []
    for name in _in_all(networks):
        ranks = [
            mean_over(networks, mean_rank, name, kind, form="{:.0f}") for kind in KINDS
        ]
        correlations = ["-"] * 4
        if name in first.scores():
            correlations = [
                mean_over(networks, rank_correlation, name, kind, what, form="{:+.2f}")
                for what in HARMS
                for kind in KINDS
            ]
        difference = mean_over(networks, _above_omega, name, KINDS[-1], form="{:+.1f}")
        if name == OMEGA:
            difference = "-"
        rows.append([label(name), *ranks, difference, *correlations])
    best = [_format([best_rank(n, k) for n in networks], "{:.0f}") for k in KINDS]
    rows.append(["best of the random sets", *best, *["-"] * 5])
    full = summarize(network.accuracy((), "plain") for network in networks)
    return (
        f"\n## ResNet-{facts['layers']} of {first.run}, n = {n}\n\n{about}\n\n"
        f"{markdown_table(columns, rows)}\n"
        "Test accuracy in % by the number of removed units, mean ± standard deviation "
        "over the models, with the mean percentile in parentheses; "
        f"{spread(full)} with all units:\n\n"
        f"{_accuracies(networks)}\n"
        f"Command, for each seed: `{first.record['command']}`, "
        f"{origin(networks)}.\n"
    )


def _in_all(networks):
    """The methods that the records of all models have, in the order of the first."""
    first, *others = (network.methods for network in networks)
    return [name for name in first if all(name in other for other in others)]


def omega_in_brief(groups, page):
    """How well |ω| selects units, as a paragraph for the overview; "" if unknown.

    Args:
        groups: lists of `Network`s as from `by_run`.
        page: name of the page with the details.
    """
    rows = [_selection(group) for group in groups if OMEGA in group[0].scores()]
    if not rows:
        return ""
    columns = ["model", "n", "not pruned", "units removed", "by |ω|"]
    columns += ["by random choice (median)", "by the other criteria"]
    columns += ["percentiles of |ω|", *(f"rank correlation, {what}" for what in HARMS)]
    return (
        "How well |ω| selects units was also measured without any retraining, after "
        f"recalibration of BatchNormalization ([details]({page}.md)). Accuracies are "
        "means over n models in %. *Percentiles*: of the choice by |ω| among random "
        "sets of the same size, by the number of removed units; 50 is no better than "
        "chance. *Rank correlation*: Spearman's, of |ω| with what the removal of each "
        "unit costs; brackets are 95 % intervals over the models or, for one model, "
        f"over its units.\n\n{markdown_table(columns, rows)}"
    )


def omega_percentiles(networks):
    """Mean percentiles of the choice by |ω| after recalibration.

    Args:
        networks: list of `Network`s with different seeds.

    Returns:
        dict by number of removed units; empty without ω or without random sets.
    """
    if OMEGA not in networks[0].methods:
        return {}
    found = {}
    for count in _COUNTS:
        if count > networks[0].most:
            break
        ranks = [random_set_rank(n, OMEGA, count, KINDS[-1]) for n in networks]
        if None not in ranks:
            found[count] = statistics.fmean(ranks)
    return found


def by_number(ranks):
    """Percentiles by the number of removed units, as text."""
    counts = list(ranks)
    listed = ", ".join(f"{rank:.0f}" for rank in ranks.values())
    stated = ", ".join(map(str, counts))
    if len(counts) > 2 and counts == [*range(counts[0], counts[-1] + 1)]:
        stated = f"{counts[0]} to {counts[-1]}"
    return f"{listed} for {stated} removed units"


def _selection(networks):
    """The row of a run: what is left by |ω|, by chance and by the other criteria."""
    first, kind = networks[0], KINDS[-1]
    count = max(count for count in first.reported if count <= _BRIEF)
    left = {
        name: summarize(
            n.accuracy(n.chosen(name, count, kind), kind, some=True) for n in networks
        )
        for name in _in_all(networks)
        if name in first.scores()
    }
    own = left.pop(OMEGA).mean
    others = [100 * summary.mean for summary in left.values()] or [math.nan]
    full = summarize(n.accuracy((), kind, some=True) for n in networks)
    median = _median(networks, count, kind)
    ranks = omega_percentiles(networks)
    return [
        f"ResNet-{first.record['network']['layers']} of {first.run}, {_data(first)}"
        f"{_some_images(first)}",
        str(len(networks)),
        f"{100 * full.mean:.1f}",
        str(count),
        f"{100 * own:.1f}",
        "-" if median is None else f"{100 * median:.1f}",
        f"{min(others):.1f} to {max(others):.1f}",
        by_number(ranks) if ranks else "-",
        *(omega_correlation(networks, what) for what in HARMS),
    ]


def omega_correlation(networks, what):
    """The rank correlation of |ω| with a harm after recalibration, as text."""
    first, kind = networks[0], KINDS[-1]
    if len(networks) == 1:
        return correlation(first.scores()[OMEGA], first.harms(kind, what))
    return mean_over(networks, rank_correlation, OMEGA, kind, what, form="{:+.2f}")


def median_of_random(networks, count, kind):
    """Median accuracy of the random sets, a mean over the models, as text.

    The images are stated if they are not all test images.
    """
    mean = _median(networks, count, kind)
    return "-" if mean is None else f"{100 * mean:.1f}{_some_images(networks[0])}"


def _median(networks, count, kind):
    """Mean over the models of the median accuracy of random sets; None if unknown."""
    sets = [network.random_accuracies(count, kind) for network in networks]
    return statistics.fmean(map(statistics.median, sets)) if all(sets) else None


def _some_images(network):
    """The images on which all sets were measured, if they are not all; "" if all."""
    images = network.settings["subset_images"]
    some = images < network.record["network"]["test_images"]
    return f" (first {images:,} images)" * some


def _above_omega(network, name, kind):
    """Mean percentile of a method minus that of |ω| for the same model."""
    if OMEGA not in network.methods:
        return math.nan
    return mean_rank(network, name, kind) - mean_rank(network, OMEGA, kind)


def mean_over(networks, measure, *arguments, form):
    """A mean over the models, with its interval if there are several."""
    return _format([measure(network, *arguments) for network in networks], form)


def _format(values, form):
    found = mean_interval(values)
    if math.isnan(found.mean):
        return "-"
    if found.low is None:
        return form.format(found.mean)
    return "{} [{}, {}]".format(*map(form.format, (found.mean, found.low, found.high)))


def _accuracies(networks):
    first = networks[0]
    shown = list(itertools.product(first.reported, KINDS))
    rows = []
    for name in _in_all(networks):
        cells = []
        for count, kind in shown:
            chosen = [(n, n.chosen(name, count, kind)) for n in networks]
            known = all(units is not None and n.on_all(units) for n, units in chosen)
            values = (n.accuracy(units, kind) for n, units in chosen) if known else ()
            ranks = [random_set_rank(n, name, count, kind) for n in networks]
            percentile = "" if None in ranks else f" ({statistics.fmean(ranks):.0f})"
            cells.append(f"{spread(summarize(values))}{percentile}")
        rows.append([label(name), *cells])
    medians = [median_of_random(networks, count, kind) for count, kind in shown]
    rows.append(["median of random sets", *medians])
    return markdown_table(["criterion", *(f"{c}, {k}" for c, k in shown)], rows)


def _data(network):
    folder = network.record["run"].split("/")[0]
    return {"digits": "scikit-learn's digits", "cifar10": "CIFAR-10"}.get(
        folder, folder
    )


def origin(networks):
    """Hours, processor, versions and commits of some studies, as a phrase."""
    facts = networks[0].record["environment"]
    parts = [part for n in networks for part in n.record["parts"].values()]
    for part in parts:  # that a part was measured again, and again
        parts += [part["before"]] if "before" in part else []
    commits = dict.fromkeys(short_commit(part["commit"] or "-") for part in parts)
    hours = sum(part["seconds"] for part in parts) / 3600
    together = " in all" if len(networks) > 1 else ""
    return (
        f"{hours:.1f} h{together} on one core of {facts['cpu']}, shared with other "
        f"work; Keras {facts['keras']} on {facts['backend']}; commit "
        f"{', '.join(commits)}"
    )
