"""The front page of the results: what was found, what was run, what is still open."""

import math

from experiments.claims import claims, controls, cost_claims, findings
from experiments.claims.estimates import Speeds, runs_of
from experiments.pages import records_page
from experiments.pages.cells import COUNTED_SEEDS, joined
from experiments.pages.differences import (
    CONSISTENT,
    CONTRARY,
    FAILS,
    HOLDS,
    IMPOSSIBLE,
    MARGIN,
    ONCE,
    OPEN,
    power,
)
from experiments.pages.library import counted
from experiments.pages.results import RECORDS, Result, head, markdown_table
from experiments.pages.scales import WORDS
from experiments.paper import (
    cost_records,
    figure3,
    figure4,
    figure5,
    figure6,
    published,
    table1,
)
from experiments.paper.rows import BY_RUN, DECIDING_RUNS, retrainings
from experiments.paper.sources import QUEUE, Sources
from experiments.removal_study import defaults_page
from experiments.removal_study import page as removal_page

_TABLE_WORDS = """Every verdict follows from committed records by a [rule](#rules); none
is set by hand, but some rules were [changed](#changes-of-the-rules) after the first
runs had been seen. For three claims, the paper gives reasons, but no numbers. *Not
reproducible*: no pruned ResNet-56 of the described kind has the printed numbers.
*Consistent*: our models have the printed numbers because their units, widths and
strides were inferred from them. *Observed once*, *contradicted once*: by one model,
while a verdict needs all planned seeds. Hours are
[estimates](../../experiments/queue.md) for all planned seeds without ImageNet, on one
CPU or one accelerator. Some runs belong to several groups.
"""
_FOUND = """Accuracies: differences in percentage points, mean [95 % t interval], n
seeds. The two scales are judged separately. ResNet-29 has its own schedule.
"""
_COSTS = """Times: medians in % of the original model, n paired calls of one pair of
models on each machine.
"""
_WORDS = f"""A *pruning run* trains a model, removes residual units and retrains, round
by round. *Initial*: the model before any removal. *Selected*: the smallest model whose
accuracy on the held-out images is not below the initial one. *Last*: the model at the
end of the run, which no images select. Accuracies are on the test set in %, mean ±
standard deviation over n seeds; *last minus initial* is the mean difference for the
same seed in percentage points [95 % t interval]; in *layers*, {COUNTED_SEEDS}.

The name of a run states its data set (`c10`, `c100`, `in`) and its setting: `main`
removes one unit per round, `k2` two and `k4` four; `paper` trains for 200 epochs per
round; `restart` retrains without removal; the [glossary](../glossary.md) explains
`scratch-e` and `scratch-b`, and [the queue](../../experiments/queue.md) describes every
run. *Full length* means the paper's epochs: 200 on CIFAR and 90 on ImageNet for the
initial training, and for each retraining the same number or one of those that the paper
compares (30, 60, 120). *A quarter of the epochs* means 50, then 15 per retraining.
*Own schedule*: ResNet-29 (`c10-r29`), with 40 epochs of initial training and 30 of
retraining, and the digits are not in the paper. Initial trainings of 40 or 50 epochs do
not converge, so accuracy can also increase by the retraining alone; the controls with
restarts show how much.
"""
_DEMONSTRATIONS = """Demonstrations on scikit-learn's digits, which are not part of the
paper. All seeds have the same 360 test images, of which one is 0.28 percentage points,
and the later models were trained for more epochs than the initial one, so no verdict is
given. `demo-fast` has the settings of `demo`, run by version 0.1.0.
"""
_DECIDE = f"""Three seeds are planned for most runs, which is too few for claims of no
loss. Before any seed is known, and if nothing is lost, such a claim holds with a
probability of {{three}} % at three seeds, {{eight}} % at eight and {{fifteen}} % at
fifteen.{{refuted}} ResNet-29 has eight
seeds and a larger margin, which gives {{short}} %
([the assumed spread](../paper.md#how-a-claim-is-judged)).{{single}} By the rules of the
first stage and of Figures 5 and 6, seed 0 at full length, which was known before them,
does not decide. {QUEUE} has the commands.
"""
_REFUTED = """ If {loss:.2f} percentage points are lost, as by `{run}` (n = {n}), it is
refuted with {three:.0f}, {eight:.0f} and {fifteen:.0f} %."""
_SINGLE = """ Claims that need {runs} have one planned seed, which is not enough for a
verdict."""
_GROUPS = {
    "trained": ("Trained models", WORDS["paper"]),
    "quarter": ("Trained models, CIFAR-10", WORDS["quarter"]),
    "further": ("Controls beyond the paper, CIFAR-10", "full length, own schedule"),
    "times": ("Times", "random weights"),
    "counts": ("MACs and parameters", "by construction"),
}
_SHORT = {
    **{name: scale for name, (_, scale) in _GROUPS.items()},
    "further": "beyond the paper",
}
# Title, and the command that makes its records.
_PAGES = {
    "table1": ("Table 1: layers left without loss of accuracy", "queue"),
    "table2": ("Table 2: computational cost", "costs"),
    "table3": ("Table 3: parameters", "costs"),
    "figure3": ("Figure 3: accuracy against layers", "queue"),
    "figure4": ("Figure 4: epochs of retraining, units per round", "queue"),
    "figure5": ("Figure 5: importance and what a unit adds", "queue"),
    "figure6": ("Figure 6: importances after training", "queue"),
    "figure7": ("Figure 7: times of training and testing", "costs"),
    "controls": ("Controls, and beyond the paper", "queue"),
    "records": ("All records", "queue"),
    "removal_study": ("Removal without training", "removal_study"),
    "retraining": ("Retraining of a trained model", "removal_study.retraining"),
    "pretrained": (
        "Pruning a trained model by default settings",
        "removal_study.defaults",
    ),
    "models": ("Trained models, with their cards", "queue"),
    "zoo": ("Units of well-known models", "zoo"),
    "bench": ("Speed of training and inference", "bench"),
    "pipeline": ("Speed of the ImageNet input pipeline", "pipeline"),
    "torture": ("Kills, damage and hostile files", "torture"),
}
_OF_RUNS = {
    "table1": table1.RUNS,
    "figure3": figure3.RUNS,
    "figure4": figure4.RUNS,
    "figure5": figure5.RUNS,
    "figure6": figure6.RUNS,
    "controls": controls.RUNS,
}


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    sources, speeds = Sources(records), Speeds(records)
    groups = grouped_claims(sources)
    known = {run: sources.series(run) for run in BY_RUN}
    done = {
        (run, seed)
        for run, series in known.items()
        if not series.smoke
        for seed in series.runs
    }
    parts = [
        head("Results", "overview", _in_short(groups, done)),
        *filter(None, [findings.bullets(sources, speeds.begun)]),
        *sources.warning(),
        f"{_status(groups, sources, done, speeds)}\n{_TABLE_WORDS}",
    ]
    found = [_FOUND * bool(table := _found(groups)), table]
    found += [_COSTS * bool(table := _costs(groups)), table]
    briefs = [page.in_brief(records) for page in (removal_page, defaults_page)]
    if found := [part for part in (*found, *briefs) if part]:
        parts += ["## What was found\n", *found]
    parts.append(f"## What was run\n\n{_WORDS}\n{_runs(records)}")
    if missing := _missing(groups, done, speeds):
        parts.append(f"## What is open\n\n{_decide(groups, sources)}\n{missing}")
    parts.append(f"## Rules\n\n{claims.RULES}{cost_claims.RULES}")
    parts.append(f"### Changes of the rules\n\n{claims.HISTORY}")
    parts.append(f"## Pages\n\n{_pages(sources)}")
    return Result("README", "\n".join(parts))


def grouped_claims(sources):
    """Lists of `Claim` by the keys of `_GROUPS`.

    Args:
        sources: `Sources`.
    """
    return {
        "trained": accuracy_claims(sources),
        "quarter": quarter_claims(sources),
        "further": further_claims(sources),
        "times": [cost_claims.faster(sources, name) for name in published.TITLES],
        "counts": [cost_claims.counts(sources, name) for name in published.TITLES],
    }


def accuracy_claims(sources):
    """The claims that the paper shows or argues with trained models.

    Args:
        sources: `Sources`.

    Returns:
        list of `Claim`, in the order of the paper's tables and figures.
    """
    runs = {name: sources.series(run) for name, run in DECIDING_RUNS.items()}
    return [
        *(claims.no_loss(name, pruning) for name, pruning in runs.items()),
        *(claims.first_stage(name, pruning) for name, pruning in runs.items()),
        *(claims.plain(sources, name, pruning) for name, pruning in runs.items()),
        *(claims.distilled(sources, name, pruning) for name, pruning in runs.items()),
        *claims.epochs_and_units(sources),
        claims.monotone(sources),
        claims.modes(sources),
        *claims.argued(sources),
    ]


def quarter_claims(sources):
    """The claims about runs at a quarter of the paper's epochs."""
    name, scale = "cifar10", "quarter"
    pruning = sources.series(controls.MAIN, scale)
    # "No loss" is left out: the initial model is not trained to convergence, so every
    # further training raises its accuracy. The restarts are the fair comparison.
    return [
        *claims.restarts(sources, scale),
        *claims.argued(sources, scale),
        *claims.from_scratch(sources, scale),
        claims.first_stage(name, pruning),
        claims.monotone(sources, scale),
        claims.modes(sources, scale),
    ]


def further_claims(sources):
    """Questions that the paper leaves open: effects of restarts and long training."""
    return [
        *claims.restarts(sources),
        *claims.from_scratch(sources),
        *claims.short(sources),
    ]


def omitted(sources):
    """Names of the pages that are not generated because they have no data."""
    records = sources.records
    costs = bool(cost_records.read_machines(records))
    known = {name: sources.on_record(runs) for name, runs in _OF_RUNS.items()}
    known["models"] = any(records.glob("*/*/models/*.keras"))
    known["records"] = any(records.glob("*/*/rounds.jsonl"))
    known["table2"] = costs or bool(cost_records.own_models(records))
    known["table3"] = known["figure7"] = costs
    return [
        name
        for name in _PAGES
        if not known.get(name, any((records / name).glob("*.json")))
    ]


# Verdicts after a number: of one claim, and of several.
_COUNTED = {
    HOLDS: ("holds", "hold"),
    FAILS: ("does not hold", "do not hold"),
    CONSISTENT: ("is consistent", "are consistent"),
    IMPOSSIBLE: ("is not reproducible", "are not reproducible"),
    ONCE: ("was observed once", "were observed once"),
    CONTRARY: ("was contradicted once", "were contradicted once"),
    OPEN: ("is open", "are open"),
}
_TO_RUN = (OPEN, ONCE, CONTRARY)  # claims that further seeds can decide


def _in_short(groups, done):
    """The first paragraph: what is decided, and what contradicts the paper."""
    trained, costs = groups["trained"], groups["times"] + groups["counts"]
    words = f"{counted(len(trained), 'claim')} about trained models"
    if all(claim.verdict.state.startswith(_TO_RUN) for claim in trained):
        runs = _needed_runs(trained)
        known = len(runs & done)
        words = (
            f"**None of the paper's {words} is decided: a verdict needs all planned "
            f"seeds, and {known} of {counted(len(runs), 'run')} at full length "
            f"{'is' if known == 1 else 'are'} on record."
        )
        if lost := sum(HOLDS in claim.lost for claim in trained):
            words += f" {_NO_LONGER[lost > 1].format(lost)}"
    else:
        words = f"**Of the paper's {words}, {_numbers(trained)}."
    words += (
        f" Of its {counted(len(costs), 'claim')} about computational cost, "
        f"{_numbers(costs)}.**"
    )
    against = [
        f" [{claim.text}]({claim.page}.md) ({published.TITLES[claim.data]}) "
        f"{_AGAINST[claim.verdict.state]} {claim.numbers}."
        for claim in trained + costs
        if claim.verdict.state in _AGAINST
    ]
    return words + "".join(against or " No verdict contradicts the paper so far.")


_NO_LONGER = (
    "One of them [can no longer hold](#rules), whatever the remaining seeds give.",
    "{} of them [can no longer hold](#rules), whatever the remaining seeds give.",
)
_AGAINST = {
    FAILS: "does not hold:",
    IMPOSSIBLE: "is not reproducible; the nearest model has",
}


def _numbers(found):
    """How many of some claims have each verdict, such as `5 hold and 1 is open`."""
    states = [claim.verdict.state for claim in found]
    states = [OPEN if state.startswith(OPEN) else state for state in states]
    return joined(
        f"{number} {words[number > 1]}"
        for state, words in _COUNTED.items()
        if (number := states.count(state))
    )


def _needed_runs(found):
    """The planned runs that some claims need, as `(row name, seed)`."""
    return runs_of({run for claim in found for run in claim.rows})


def _status(groups, sources, done, speeds):
    """The table of all kinds of claims: verdicts, runs, and what decides the rest."""
    rows = []
    for name, found in groups.items():
        runs = _needed_runs(found)
        finished = f"{len(runs & done)} of {counted(len(runs), 'run')}"
        if not runs:
            machines = cost_records.read_machines(sources.records)
            finished = "; ".join(machine.title for machine in machines) or "nothing"
        rows.append(
            [
                *_GROUPS[name],
                finished,
                str(len(found)),
                f"**{_numbers(found)}**",
                _to_decide(found, done, speeds),
            ]
        )
    columns = "claims about", "scale", "finished", "claims", "verdicts", "left to run"
    return markdown_table(columns, rows)


def _to_decide(found, done, speeds):
    """What the open ones of some claims need: runs and hours, or a command."""
    still = [claim for claim in found if claim.verdict.state.startswith(_TO_RUN)]
    if not still:
        return "-"
    runs = _needed_runs(still) - done
    if not runs:
        return ", ".join(f"`{command}`" for command in _commands(still)) or _ALL_RUN
    hours = _hours(runs, speeds)
    if not hours:  # only ImageNet is left
        return counted(len(runs), "run")
    times = (
        f"{number:,.{0 if number >= 10 else 1}f} h on {device}"
        for number, device in zip(hours, ("a CPU", "an accelerator"), strict=True)
        if not math.isnan(number)  # no record of a CPU
    )
    return f"{counted(len(runs), 'run')}: {' or '.join(times)}"


def _hours(runs, speeds):
    """Estimated hours of some runs on a CPU and on an accelerator; None if unknown."""
    hours = [known for run, _ in runs if (known := speeds.hours(BY_RUN[run]))]
    return tuple(map(sum, zip(*hours, strict=True))) if hours else None


def _commands(found):
    """The commands that measure what some claims need besides runs."""
    needs = [need for claim in found for need in claim.needs if need not in BY_RUN]
    if not (needs or any(claim.rows for claim in found)):
        needs = [cost_records.COMMAND]
    return tuple(dict.fromkeys(needs))


def _runs(records):
    """The recorded runs: those of the paper, unfinished ones, and all others."""
    ours = records_page.over_seeds(records, only=BY_RUN, brief=True)
    planned = {run: retrainings(row) for run, row in BY_RUN.items()}
    begun = records_page.unfinished(records, planned)
    others = records_page.over_seeds(records, without=BY_RUN, brief=True)
    smoke = records_page.smoke_tests(records)
    parts = [ours or "No run of the paper's experiments is finished yet.\n"]
    if begun:
        parts.append(f"In progress: {begun} ([details](records.md)).\n")
    if others:
        parts.append(f"{_DEMONSTRATIONS}\n{others}")
    if smoke:
        parts.append(
            f"Smoke tests, which support no claim: {len(smoke)} "
            "([all records](records.md)).\n"
        )
    return "\n".join(parts)


def _found(groups):
    """The claims about trained models with a record, each once for both scales."""
    rows = {}
    for name, place in ("trained", 0), ("further", 0), ("quarter", 1):
        for claim in groups[name]:
            cells = rows.setdefault((claim.text, claim.data, claim.page), ["-", "-"])
            cells[place] = claim.numbers if claim.needs else _judged(claim)
    return _table(
        ["claim", "data set", WORDS["paper"], WORDS["quarter"]],
        {key: c for key, c in rows.items() if any(map(_is_judged, c))},
    )


def _costs(groups):
    """The measured claims about cost."""
    found = [claim for name in ("times", "counts") for claim in groups[name]]
    rows = {
        (claim.text, claim.data, claim.page): [_judged(claim)]
        for claim in found
        if not claim.needs
    }
    return _table(["claim", "data set", "verdict"], rows)


def _is_judged(cell):
    return cell.startswith("**")


def _judged(claim):
    return f"**{claim.verdict.state}**: {claim.numbers}"


def _table(columns, rows):
    """The table of cells by `(text, data set, page)` of claims; "" without any."""
    lines = [
        [f"[{text}]({page}.md)", published.TITLES[data], *cells]
        for (text, data, page), cells in rows.items()
    ]
    return markdown_table(columns, lines) if lines else ""


def _label(page):
    title, _ = _PAGES[page]
    return title.split(":")[0].split(",")[0]


def _decide(groups, sources):
    """How likely the planned seeds decide a claim of no loss."""

    def percents(distance):
        chances = {"three": power(3, distance), "eight": power(8, distance)}
        chances["fifteen"] = power(15, distance)
        return {name: 100 * chance for name, chance in chances.items()}

    run, refuted = controls.MAIN, ""
    series = sources.series(run)
    change = series.change(series.at(published.SMALLEST_BY_TWO))
    if change and not series.smoke and change.mean < -MARGIN:
        loss = -change.mean
        chances = percents(loss - MARGIN)
        refuted = _REFUTED.format(loss=100 * loss, run=run, n=change.n, **chances)
    needed = dict.fromkeys(
        run
        for found in groups.values()
        for claim in found
        for run in claim.rows
        if len(BY_RUN[run].seeds) == 1
    )
    single = _SINGLE.format(runs=joined([f"`{run}`" for run in needed], "or"))
    short = 100 * power(len(BY_RUN[controls.SHORT].seeds), controls.SHORT_MARGIN)
    found = {name: f"{chance:.0f}" for name, chance in percents(MARGIN).items()}
    text = _DECIDE.format(**found, short=f"{short:.0f}", refuted=refuted, single=single)
    return " ".join(text.split()) + "\n"


_ALL_RUN = "nothing (all planned seeds are on record)"


def _missing(groups, done, speeds):
    """The table of the claims without a verdict and of the runs that decide them."""
    grouped = {}
    for name, found in groups.items():
        for claim in found:
            if claim.verdict.state.startswith(_TO_RUN):
                needed = frozenset(runs_of(claim.rows))
                key = claim.data, name, needed, _commands([claim])
                grouped.setdefault(key, []).append(claim)
    rows = []
    for (data, name, needed, commands), found in grouped.items():
        runs = list(dict.fromkeys(run for claim in found for run in claim.rows))
        left = needed - done
        before = sorted({run for run, _ in left} - {*runs})
        words = ", ".join(f"`{need}`" for need in (*runs, *commands))
        if before:
            words += f"; before them {', '.join(f'`{run}`' for run in before)}"
        if not (left or commands):
            words += f": {_ALL_RUN}"
        seeds = [
            f"{sum((run, seed) in done for seed in planned)} of {len(planned)}"
            for run in runs
            for planned in [BY_RUN[run].seeds]
        ]
        hours = _hours(left, speeds)
        known = hours and not math.isnan(hours[0])
        rows.append(
            [
                published.TITLES[data],
                "; ".join(map(_with_outlook, found)),
                _SHORT[name],
                words,
                ", ".join(seeds) or "-",
                f"{hours[0]:,.0f}" if known else "-",
            ]
        )
    columns = ["data set", "claims", "scale", "decided by", "seeds on record"]
    return markdown_table([*columns, "hours on a CPU"], rows) if rows else ""


def _with_outlook(claim):
    return f"{claim.text} ({claim.outlook})" if claim.outlook else claim.text


def _pages(sources):
    without = omitted(sources)
    text = "".join(
        f"- [{title}]({name}.md)\n"
        for name, (title, _) in _PAGES.items()
        if name not in without
    )
    by_command = {}
    for name in without:
        by_command.setdefault(_PAGES[name][1], []).append(_label(name))
    if without:
        missing = "; ".join(
            f"{', '.join(labels)} (`python -m experiments.{command}`)"
            for command, labels in by_command.items()
        )
        text += f"\nLeft out, because no record is finished yet: {missing}.\n"
    return text
