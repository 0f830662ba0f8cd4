"""Several models of one run: means over seeds. No TensorFlow."""

import itertools
import math

from experiments.pages.cells import spread
from experiments.pages.differences import mean_interval, summarize
from experiments.pages.results import markdown_table, short_commit
from experiments.removal_study.methods import (
    KINDS,
    best_rank,
    correlation,
    mean_rank,
    rank_correlation,
)

_OMEGA = "importance"  # the criterion that scores units by |ω|
_MEASURED = {"orders", "random sets", "greedy search"}  # parts of a study
_BRIEF = 5  # units removed in the summary for the overview
_ABOUT = """{n} models of [{run}](records.md) with different seeds: {layers} layers,
{units} removable units, trained with ω on {data}. Criteria scored on {scored:,}
training images, recalibration used {again:,}, and accuracies are measured on {test:,}
test images, which were used neither for training nor for selection. All cells are means
over the models.

*Percentile*: of a method's choice among random sets of the same size, averaged over 1
to {most} removed units; 50 is no better than chance. *Minus that of |ω|*: difference
between the percentiles for the same model. *Rank correlation*: Spearman's, of
the scores with the increase of the loss without each unit. Brackets contain 95 % t
intervals over the models."""


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
    columns = "method", *(f"percentile, {kind}" for kind in KINDS)
    columns += (f"minus that of |ω|, {KINDS[-1]}",)
    columns += tuple(f"rank correlation, {kind}" for kind in KINDS)
    rows = []
    for name in first.methods:
        ranks = [_mean(networks, mean_rank, name, kind, "{:.0f}") for kind in KINDS]
        correlations = ["-", "-"]
        if name in first.scores():
            correlations = [
                _mean(networks, rank_correlation, name, kind, "{:+.2f}")
                for kind in KINDS
            ]
        difference = _mean(networks, _above_omega, name, KINDS[-1], "{:+.1f}")
        if name == _OMEGA:
            difference = "-"
        rows.append([name, *ranks, difference, *correlations])
    best = [_format([best_rank(n, k) for n in networks], "{:.0f}") for k in KINDS]
    rows.append(["best of the random sets", *best, "-", "-", "-"])
    return (
        f"\n## ResNet-{facts['layers']} of {first.run}, n = {n}\n\n{about}\n\n"
        f"{markdown_table(columns, rows)}\n"
        "Test accuracy in %, mean ± standard deviation over the models:\n\n"
        f"{_accuracies(networks)}\n"
        f"Command, for each seed: `{first.record['command']}`, "
        f"{origin(networks)}.\n"
    )


def omega_in_brief(groups, page):
    """How well |ω| selects units, as a paragraph for the overview; "" if unknown.

    Args:
        groups: lists of `Network`s as from `by_run`.
        page: name of the page with the details.
    """
    lines = [
        f"- ResNet-{group[0].record['network']['layers']} of {group[0].run}, "
        f"{_data(group[0])} (n = {len(group)}): {_selection(group)}\n"
        for group in groups
        if _OMEGA in group[0].scores()
    ]
    if not lines:
        return ""
    return (
        "How well |ω| selects units was also measured without any retraining, after "
        f"recalibration of BatchNormalization ([details]({page}.md)). Percentiles are "
        "among random sets of the same size; 50 is no better than chance. Brackets: "
        "95 % intervals over the models or, for one model, over its units.\n\n"
        + "".join(lines)
    )


def _selection(networks):
    """What is left of the accuracy by |ω| and by the other criteria."""
    first, kind = networks[0], KINDS[-1]
    count = max(count for count in first.reported if count <= _BRIEF)
    left = {
        name: summarize(n.accuracy(n.chosen(name, count, kind), kind) for n in networks)
        for name in first.scores()
    }
    own = 100 * left.pop(_OMEGA).mean
    others = [100 * summary.mean for summary in left.values()] or [math.nan]
    full = summarize(network.accuracy((), kind) for network in networks)
    rank = _mean(networks, mean_rank, _OMEGA, kind, "{:.0f}")
    rank = (
        "not compared with random sets yet"
        if rank == "-"
        else f"mean percentile over 1 to {first.most} removed units: {rank}, of the "
        f"best random sets {_format([best_rank(n, kind) for n in networks], '{:.0f}')}"
    )
    found = _mean(networks, rank_correlation, _OMEGA, kind, "{:+.2f}")
    if len(networks) == 1:
        found = correlation(first.scores()[_OMEGA], first.rises(kind))
    return (
        f"accuracy {100 * full.mean:.1f} %; without {count} units chosen by |ω| "
        f"{own:.1f} % ({rank}), by the other {len(others)} criteria {min(others):.1f} "
        f"to {max(others):.1f} %. Spearman's rank correlation of |ω| with the increase "
        f"of the loss without each unit: {found}."
    )


def _above_omega(network, name, kind):
    """Mean percentile of a method minus that of |ω| for the same model."""
    if _OMEGA not in network.methods:
        return math.nan
    return mean_rank(network, name, kind) - mean_rank(network, _OMEGA, kind)


def _mean(networks, measure, name, kind, form):
    """A mean over the models, with its interval if there are several."""
    return _format([measure(network, name, kind) for network in networks], form)


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
    full = summarize(network.accuracy((), "plain") for network in networks)
    rows = [["no unit removed", *[spread(full)] * len(shown)]]
    for name in first.methods:
        cells = []
        for count, kind in shown:
            chosen = [(n, n.chosen(name, count, kind)) for n in networks]
            known = all(units is not None and n.on_all(units) for n, units in chosen)
            values = (n.accuracy(units, kind) for n, units in chosen) if known else ()
            cells.append(spread(summarize(values)))
        rows.append([name, *cells])
    return markdown_table(["method", *(f"{c} removed, {k}" for c, k in shown)], rows)


def _data(network):
    folder = network.record["run"].split("/")[0]
    return {"digits": "scikit-learn's digits", "cifar10": "CIFAR-10"}.get(
        folder, folder
    )


def origin(networks):
    """Hours, processor, versions and commits of some studies, as a phrase."""
    facts = networks[0].record["environment"]
    parts = [part for n in networks for part in n.record["parts"].values()]
    commits = dict.fromkeys(short_commit(part["commit"] or "-") for part in parts)
    hours = sum(part["seconds"] for part in parts) / 3600
    together = " in all" if len(networks) > 1 else ""
    return (
        f"{hours:.1f} h{together} on one core of {facts['cpu']}, shared with other "
        f"work; Keras {facts['keras']} on {facts['backend']}; commit "
        f"{', '.join(commits)}"
    )
