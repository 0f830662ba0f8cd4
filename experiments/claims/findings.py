"""What the finished runs show, in a few sentences for the front page."""

import statistics

from experiments.claims import controls
from experiments.pages.cells import each, joined, points, spread
from experiments.pages.differences import pair, summarize
from experiments.pages.library import counted
from experiments.pages.scales import WORDS, suffix
from experiments.paper import figure6, published, table1
from experiments.paper.rows import BY_RUN, PRUNING_RUNS, retrainings
from experiments.removal_study import page as removal_page
from experiments.removal_study.seeds import by_number, omega_percentiles


def bullets(sources, begun):
    """A Markdown list, without the items that have no record; "" without any.

    Args:
        sources: `Sources`.
        begun: `RunRecords` by name with the seed, as from `estimates.begun`.
    """
    items = [
        *_accuracy(sources),
        *_units(sources),
        *_importances(sources),
        *_criterion(sources.records),
        *_restarts(begun),
        *_other_controls(sources),
    ]
    if not items:
        return ""
    return "What the finished runs show (differences in percentage points):\n\n" + (
        "".join(f"- {item}\n" for item in items)
    )


def _smallest(sources):
    """Yields data set, `Series`, and its records at the paper's smallest depth."""
    for name, runs in PRUNING_RUNS.items():
        for series in map(sources.series, runs):
            records = series.at(published.SMALLEST_LAYERS[name])
            if records and not series.smoke:
                yield name, series, records


def _accuracy(sources):
    lines, quarter = [], False
    for name, series, records in _smallest(sources):
        first = {seed: series.runs[seed].rounds[0] for seed in records}
        parts = []
        for split, words in ("test", "test"), ("validation", "held-out images"):
            before, after = (series.accuracies(r, split) for r in (first, records))
            if before and after:
                change = points(pair(after, before))
                both = (spread(summarize(found.values())) for found in (before, after))
                parts.append(f"{words} {' → '.join(both)} %, {change}")
        scale, layers = series.row.scale, published.SMALLEST_LAYERS[name]
        quarter |= scale == "quarter"
        lines.append(
            f"\n  - {published.TITLES[name]}, {layers} layers, `{series.row.run}` "
            f"({WORDS[scale]}): {'; '.join(parts)}."
        )
    if not lines:
        return []
    caveat = (
        " A quarter of the epochs does not train to convergence, so an increase there "
        "can come from the retraining alone."
    )
    paper = published.INITIAL_ACCURACY["cifar10"]
    smallest = {published.SMALLEST_LAYERS[name] for name, *_ in _smallest(sources)}
    depths = f"{joined(map(str, sorted(smallest)))} layers"
    return [
        f"*Accuracy.* The paper reports no loss at {depths} (CIFAR-10: {paper} % "
        f"before).{caveat * quarter}{''.join(lines)}"
    ]


def _units(sources):
    found = {}
    for name, series, records in _smallest(sources):
        kept = each(table1.units_left(record) for record in records.values())
        found.setdefault(name, []).append(f"{kept} in `{series.row.run}`")
    return [
        f"*Units left in each stage*, {published.TITLES[name]}, "
        f"{published.SMALLEST_LAYERS[name]} layers: {', '.join(runs)}. We infer "
        f"{table1.inferred(name)} for the paper. Random removal leaves these numbers "
        f"in {100 * table1.by_chance(name):.1f} % of the cases."
        for name, runs in found.items()
    ]


def _importances(sources):
    ranges, values = [], []
    for run in figure6.RUNS:
        series = sources.series(run)
        if not series.smoke and (own := figure6.pooled(series.runs)):
            sizes = [abs(value) for value in own]
            values += own
            ranges.append(f"{min(sizes):.2f} and {max(sizes):.2f} in `{run}`")
    if not values:
        return []
    low, high = figure6.in_bands(values)
    return [
        "*Importance.* After the initial training, |ω| lies between "
        f"{', '.join(ranges)}. Of the {len(values)} values, {low} lie near 0 "
        f"({figure6.NEAR_ZERO}) and {high} near ±{published.MODE} "
        f"({figure6.NEAR_MODES}), where the paper has its two modes. The size of ω "
        "depends on the weight decay, which the paper does not state."
    ]


def _criterion(records):
    lines = []
    for group in removal_page.groups(records):
        ranks = omega_percentiles(group)
        if ranks and group[0].run in BY_RUN:
            lines.append(f"`{group[0].run}` (n = {len(group)}): {by_number(ranks)}")
    if not lines:
        return []
    return [
        "*|ω| as a criterion*, without retraining, after recalibration: percentiles of "
        "its choice among random sets of the same size (50: no better than chance). "
        f"{'; '.join(lines)}."
    ]


def _restarts(begun):
    """The full model after as many restarts as are on record, next to the pruned one.

    Seeds that are not as far as the furthest one are left out.
    """
    found = []
    for scale in WORDS:
        names = controls.MAIN + suffix(scale), controls.RESTART + suffix(scale)
        pairs = {}
        for seed in BY_RUN[names[1]].seeds:
            both = [begun.get(f"{name}-seed{seed}") for name in names]
            if all(run and not run.smoke for run in both):
                # Rounds by number; the pruning run may be the shorter one.
                pairs[seed] = [{r["round"]: r for r in run.rounds} for run in both]
        last = max((min(map(max, both)) for both in pairs.values()), default=0)
        if not last:
            continue
        pairs = {
            seed: both for seed, both in pairs.items() if all(last in r for r in both)
        }
        first = {
            seed: rounds[0]["test_accuracy"] for seed, (_, rounds) in pairs.items()
        }
        pruned, full = (
            {seed: both[place][last]["test_accuracy"] for seed, both in pairs.items()}
            for place in (0, 1)
        )
        planned = retrainings(BY_RUN[names[1]])
        layers = each(both[0][last]["layers"] for both in pairs.values())
        means = [f"{100 * statistics.fmean(v.values()):.2f} %" for v in (full, pruned)]
        state = "" if last == planned else " The control is not finished."
        done = counted(last, "restart")
        if last != planned:
            done = f"{last} of {planned} restarts"
        found.append(
            f"*Restart control* ({WORDS[scale]}). After {done} with nothing removed, "
            f"the full model has {means[0]}, "
            f"{points(pair(full, first))}; the pruned one, with {layers} layers, has "
            f"{means[1]}, {points(pair(pruned, first))}. Pruned minus full: "
            f"{points(pair(pruned, full))}.{state}"
        )
    return found


def _other_controls(sources):
    """The controls of the pruning run but for that of the restarts, next to it."""
    found = []
    for scale in WORDS:
        main, *others = (
            sources.series(run, scale)
            for run in controls.known([controls.MAIN, *controls.CONTROLS], scale)
        )
        pruned, parts = main.accuracies(main.last()), []
        for series in others:
            own = series.accuracies(controls.compared(main, series))
            run = series.row.run.removesuffix(suffix(scale))
            if own and run != controls.RESTART and not series.smoke:
                what = controls.CONTROLS[run]
                accuracy = f"{100 * statistics.fmean(own.values()):.2f} %"
                parts.append(f"{what}: {accuracy}, {points(pair(pruned, own))}")
        if parts:
            found.append(
                f"*Other controls* ({WORDS[scale]}), accuracy on the test set, and "
                f"pruned minus control: {'; '.join(parts)}."
            )
    return found
