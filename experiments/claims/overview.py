"""The front page of the results: what was found, what was run, what is still open."""

import collections

import numpy as np

from experiments.claims import claims, controls, cost_claims
from experiments.claims.estimates import Speeds, runs_of
from experiments.pages import records_page
from experiments.pages.cells import COUNTED_SEEDS
from experiments.pages.differences import (
    CONSISTENT,
    CONTRARY,
    FAILS,
    HOLDS,
    IMPOSSIBLE,
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
from experiments.paper.rows import BY_RUN, DECIDING_RUNS
from experiments.paper.sources import QUEUE, Sources
from experiments.removal_study import defaults_page
from experiments.removal_study import page as removal_page

_TABLE_WORDS = """Every verdict follows from committed records by a [rule](#rules); none
is set by hand, but three rules were changed after the first run had been seen. *Not
reproducible*: no pruned ResNet-56 of the described kind has the printed numbers.
*Consistent*: our models have the printed numbers because their units, widths and
strides were inferred from them. *Observed once*, *contradicted once*: by one model,
while a verdict needs all planned seeds. Hours are
[estimates](../../experiments/queue.md) for all planned seeds without ImageNet, on one
CPU or one accelerator. Some runs belong to several groups.
"""
_WORDS = """A *pruning run* trains a model, removes residual units and retrains, round
by round. The name of a run states its data set (`c10`, `c100`, `in`) and its setting:
`main` removes one unit per round, `k2` two and `k4` four; `paper` trains for 200 epochs
per round; `restart` retrains without removal; the [glossary](../glossary.md) explains
`scratch-e` and `scratch-b`, and [the queue](../../experiments/queue.md) describes every
run. *Full length* means the paper's epochs: 200 on CIFAR and 90 on ImageNet for the
initial training, and for each retraining the same number or one of those that the paper
compares (30, 60, 120). *A quarter of the epochs* means 50, then 15 per retraining.
*Own schedule*: ResNet-29 (`c10-r29`), with 40 epochs of initial training and 30 of
retraining, and the digits are not in the paper. An initial training of 40 epochs does
not converge, so its accuracy can also increase by the retraining alone; the controls
with restarts will show how much. ω is the learned importance of a unit
([the paper, as implemented](../paper.md)).
"""
_DEMONSTRATIONS = f"""Demonstrations on scikit-learn's digits, which are not part of the
paper. *Initial*, *selected*: test accuracy in %, mean ± standard deviation over n
seeds. *Layers*: {COUNTED_SEEDS}. *Change*: selected minus initial model of the same
seed in percentage points, mean [95 % t interval]. All seeds have the same 360 test
images, of which one is 0.28 percentage points, and the selected model was trained for
more epochs than the initial one, so no verdict is given. `demo-fast` has the settings
of `demo`, run by version 0.1.0.
"""
_FOUND = """Accuracies: differences in percentage points, mean [95 % t interval], n
seeds. Times: medians in % of the original model, n paired calls.
"""
_DECIDE = f"""A verdict needs all planned seeds of every run named; by the rules of the
first stage and of Figures 5 and 6, seed 0 at full length does not decide. ImageNet and
c10-small-lr-quarter are planned with one, which observes but decides nothing. If a
model loses nothing, a claim of no loss holds with a probability of {{three}} % at three
seeds, {{eight}} % at eight and {{fifteen}} % at fifteen, and that of ResNet-29, whose
margin is larger, with {{short}} % at the eight planned
([the assumed spread](../paper.md#how-a-claim-is-judged)). On ImageNet, the first stage
has two removable units, too few for p < 0.05 in one model: if both were removed, p
would be {{imagenet}}. {QUEUE} has the commands and the estimated hours.
"""
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
    sources = Sources(records)
    groups = grouped_claims(sources)
    parts = [
        head("Results", "overview", _in_short(groups)),
        *sources.warning(),
        f"{_status(groups, sources)}\n{_TABLE_WORDS}",
    ]
    found = [
        (name, claim)
        for name, claims_of in groups.items()
        for claim in claims_of
        if not claim.needs
    ]
    if found:
        parts.append(f"## What was found\n\n{_FOUND}\n{_table(found)}")
    briefs = [page.in_brief(records) for page in (removal_page, defaults_page)]
    parts += filter(None, briefs)
    parts.append(f"## What was run\n\n{_WORDS}\n{_runs(records)}")
    if missing := _missing(groups, sources):
        parts.append(f"## What is open\n\n{_decide()}\n{missing}")
    parts.append(f"## Rules\n\n{claims.RULES}{cost_claims.RULES}")
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
    runs = {name: sources.first(*runs) for name, runs in DECIDING_RUNS.items()}
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
    known["table3"] = costs or cost_records.all_models(records) != [*cost_records.PAPER]
    known["figure7"] = costs
    return [
        name
        for name in _PAGES
        if not known.get(name, any((records / name).glob("*.json")))
    ]


_COUNTED = {
    "hold": HOLDS,
    "fail": FAILS,
    "consistent": CONSISTENT,
    "not reproducible": IMPOSSIBLE,
    "observed once": ONCE,
    "contradicted once": CONTRARY,
}


def _in_short(groups):
    """The first paragraph: what is decided, and what contradicts the paper."""
    trained, costs = groups["trained"], groups["times"] + groups["counts"]
    words = f"The paper makes {counted(len(trained), 'claim')} about trained models"
    if _open(trained) == len(trained):
        words = f"**{words}; none of them is decided yet.**"
    else:
        words = f"**{words}: {_numbers(trained)}.**"
    words += (
        f" It makes {counted(len(costs), 'claim')} about computational cost: "
        f"{_numbers(costs)}. "
    )
    against = [
        f"[{claim.text}]({claim.page}.md) ({published.TITLES[claim.data]}) "
        f"{_AGAINST[claim.verdict.state]} {claim.numbers}"
        for claim in trained + costs
        if claim.verdict.state in _AGAINST
    ]
    if not against:
        return f"{words}No record contradicts the paper so far."
    return f"{words}What contradicts the paper: {'. '.join(against)}."


_AGAINST = {
    FAILS: "does not hold:",
    IMPOSSIBLE: "is not reproducible; the nearest model has",
    CONTRARY: "is contradicted by one model (a verdict needs all planned seeds):",
}
_TO_RUN = (OPEN, ONCE, CONTRARY)  # claims that further seeds can decide


def _open(found):
    return sum(claim.verdict.state.startswith(OPEN) for claim in found)


def _numbers(found):
    """How many of some claims have each verdict, such as `5 hold, 1 open`."""
    states = [claim.verdict.state for claim in found]
    counts = {word: states.count(state) for word, state in _COUNTED.items()}
    counts["open"] = _open(found)
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)


def _status(groups, sources):
    """The table of all kinds of claims: verdicts, runs, and what decides the rest."""
    done = {(run, seed) for run in BY_RUN for seed in sources.series(run).runs}
    speeds, rows = Speeds(sources.records), []
    for name, found in groups.items():
        runs = runs_of({run for claim in found for run in claim.rows})
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
    runs = runs_of({run for claim in still for run in claim.rows}) - done
    if not runs:
        needs = dict.fromkeys(need for claim in still for need in claim.needs)
        if needs or not any(claim.rows for claim in still):
            return ", ".join(f"`{need}`" for need in needs or [cost_records.COMMAND])
        return _ALL_RUN
    hours = [known for run, _ in runs if (known := speeds.hours(BY_RUN[run]))]
    if not hours:  # only ImageNet is left
        return counted(len(runs), "run")
    cpu, accelerator = map(sum, zip(*hours, strict=True))
    times = f"{cpu:,.0f} h on a CPU or {accelerator:,.0f} h on an accelerator"
    return f"{counted(len(runs), 'run')}: {times}"


def _runs(records):
    """The recorded runs: those of the paper, unfinished ones, and all others."""
    ours = records_page.over_seeds(records, only=BY_RUN, brief=True)
    begun = records_page.unfinished(records)
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


def _table(found):
    rows = [
        [
            f"[{claim.text}]({claim.page}.md)",
            published.TITLES[claim.data],
            _SHORT[name],
            f"**{claim.verdict.state}**",
            claim.numbers,
        ]
        for name, claim in found
    ]
    columns = ["claim", "data set", "scale", "verdict", "numbers"]
    return markdown_table(columns, rows)


def _label(page):
    title, _ = _PAGES[page]
    return title.split(":")[0].split(",")[0]


def _decide():
    full = np.array(published.INITIAL_UNITS["imagenet2012"])
    lost = full.sum() - sum(published.SMALLEST_UNITS["imagenet2012"])
    least = claims.chance([full], [[1, *full[1:-1], full[-1] - lost + full[0] - 1]])
    short = controls.SHORT_MARGIN, len(BY_RUN[controls.SHORT].seeds)
    chances = {"three": power(3), "eight": power(8), "fifteen": power(15)}
    chances["short"] = power(short[1], short[0])
    percents = {name: f"{100 * value:.0f}" for name, value in chances.items()}
    return _DECIDE.format(**percents, imagenet=f"{least:.2f}")


_ALL_RUN = "nothing (all planned seeds are on record)"


def _missing(groups, sources):
    """The claims without a verdict and the rows that they need, by data and scale."""
    scales, needs = collections.defaultdict(list), collections.defaultdict(list)
    for name, claims_of in groups.items():
        for claim in claims_of:
            if claim.verdict.state.startswith(_TO_RUN):
                scales[claim.data, claim.text].append(_SHORT[name])
                needed = [f"`{need}`" for need in claim.needs]
                if not (needed or claim.rows):
                    needed = [f"`{cost_records.COMMAND}`"]
                needed = needed or [
                    f"`{run}` (more seeds)"
                    for run in claim.rows
                    if not sources.planned(run).complete
                ]
                needed = needed or [_ALL_RUN]
                needs[claim.data, claim.text] += needed
    lines = {}
    for (data, text), words in scales.items():
        texts, runs = lines.setdefault((data, *words), ([], []))
        texts.append(text)
        runs += needs[data, text]
    return "".join(
        f"- {published.TITLES[data]}, {' and '.join(words)}: {'; '.join(texts)}. "
        f"Needed: {', '.join(dict.fromkeys(runs))}.\n"
        for (data, *words), (texts, runs) in lines.items()
    )


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
