"""The front page of the results: what was run, what was found, what is still open."""

import collections
import dataclasses

from experiments.claims import claims, controls, cost_claims
from experiments.pages import records_page
from experiments.pages.differences import FAILS, HOLDS, IMPOSSIBLE, ONCE, OPEN
from experiments.pages.results import RECORDS, head, markdown_table
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
from experiments.paper.rows import BY_RUN, CHAINS, paper_chains
from experiments.paper.sources import QUEUE, Sources

_ABOUT = """Which of the paper's claims have been reproduced so far. Every verdict
follows from committed records by a rule in the code; none is set by hand."""
_WORDS = """A *pruning run* trains a model, removes residual units and retrains, round
by round. *Full length* means the paper's epochs; *a quarter of the epochs* means 50,
then 15 per retraining. ω is the learned importance of a unit ([the paper, as
implemented](../paper.md)).
"""
_DEMONSTRATIONS = """Demonstrations on scikit-learn's digits, which are not part of the
paper. *Change*: selected minus initial model of the same seed.
"""
_FOUND = """Accuracies: differences in percentage points, n seeds. Times: medians in %
of the original model, n paired calls.
"""
_DECIDE = f"""A verdict needs at least two seeds of every run named (ImageNet is planned
with one). {QUEUE} has the commands and the estimated hours.
"""
_GROUPS = {
    "trained": "Trained models, full length",
    "quarter": "Trained models, a quarter of the epochs",
    "further": "Trained models, full length, beyond the paper",
    "times": "Times, measured with random weights",
    "counts": "Counts, true by construction",
}
_SHORT = {
    "trained": WORDS["paper"],
    "quarter": WORDS["quarter"],
    "further": f"{WORDS['paper']} (beyond the paper)",
    "times": "random weights",
    "counts": "by construction",
}
# Title, and what its records come from.
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
        head("Results", "overview", _ABOUT),
        *sources.warning(),
        _status(groups),
        f"## What was run\n\n{_WORDS}\n{_runs(records)}",
    ]
    found = [
        (name, claim)
        for name, claims_of in groups.items()
        for claim in claims_of
        if not claim.needs
    ]
    if found:
        parts.append(f"## What was found\n\n{_FOUND}\n{_table(found)}")
    if missing := _missing(groups, found):
        parts.append(f"## What is open\n\n{_DECIDE}\n{missing}")
    parts.append(f"## Rules\n\n{claims.RULES}{cost_claims.RULES}")
    parts.append(f"## Pages\n\n{_pages(sources)}")
    result = sources.result("", "README", "")
    return dataclasses.replace(result, text="\n".join(parts))


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
    """What the paper shows, or argues, with trained models.

    Args:
        sources: `Sources`.

    Returns:
        list of `Claim`, in the order of the paper's tables and figures.
    """
    chains = {name: sources.fullest(*paper_chains(name)) for name in CHAINS}
    return [
        *(claims.no_loss(name, chain) for name, chain in chains.items()),
        *(claims.first_stage(name, chain) for name, chain in chains.items()),
        *(claims.plain(sources, name, chain) for name, chain in chains.items()),
        *(claims.distilled(sources, name, chain) for name, chain in chains.items()),
        *claims.epochs_and_units(sources),
        claims.monotone(sources),
        claims.modes(sources),
        *claims.argued(sources),
    ]


def quarter_claims(sources):
    """The claims that runs at a quarter of the paper's epochs are about."""
    name, scale = "cifar10", "quarter"
    chain = sources.series(controls.MAIN, scale)
    return [
        claims.no_loss(name, chain),
        *claims.restarts(sources, scale),
        *claims.argued(sources, scale),
        *claims.from_scratch(sources, scale),
        claims.first_stage(name, chain),
        claims.monotone(sources, scale),
        claims.modes(sources, scale),
    ]


def further_claims(sources):
    """What the paper leaves open: the effect of restarts and of long training alone."""
    return [
        *claims.restarts(sources),
        *claims.from_scratch(sources),
        *claims.short(sources),
    ]


def omitted(sources):
    """Names of the pages that are not generated, because they have no data yet."""
    records = sources.records
    costs = bool(cost_records.read_machines(records))
    known = {name: sources.on_record(runs) for name, runs in _OF_RUNS.items()}
    known["records"] = any(records.glob("*/*/rounds.jsonl"))
    known["table2"] = costs or bool(cost_records.own_nets(records))
    known["table3"] = costs or cost_records.all_nets(records) != [*cost_records.PAPER]
    known["figure7"] = costs
    return [
        name
        for name in _PAGES
        if not known.get(name, any((records / name).glob("*.json")))
    ]


def _status(groups):
    """The headline: a line for each kind of claim."""
    lines = []
    for name, found in groups.items():
        states = [claim.verdict.state for claim in found]
        counts = {word: states.count(state) for word, state in _COUNTED.items()}
        counts["open"] = sum(state.startswith(OPEN) for state in states)
        always = ("hold", "fail", "open")
        numbers = ", ".join(
            f"{number} {word}"
            for word, number in counts.items()
            if number or word in always
        )
        lines.append(f"- **{_GROUPS[name]}: {len(states)} claims; {numbers}.**\n")
    return "".join(lines)


_COUNTED = {
    "hold": HOLDS,
    "fail": FAILS,
    "observed once": ONCE,
    "not reproducible": IMPOSSIBLE,
}


def _runs(records):
    """What is on record: the paper's rows, unfinished runs, everything else."""
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


def _missing(groups, found):
    """The other claims with the rows that they need, by data set and scale."""
    shown = {id(claim) for _, claim in found}
    scales, needs = collections.defaultdict(list), collections.defaultdict(list)
    for name, claims_of in groups.items():
        for claim in claims_of:
            if id(claim) not in shown:
                scales[claim.data, claim.text].append(_SHORT[name])
                needs[claim.data, claim.text] += claim.needs
    lines = {}
    for (data, text), words in scales.items():
        texts, runs = lines.setdefault((data, *words), ([], []))
        texts.append(text)
        # The line states the scales, which the names of runs repeat.
        runs += (run.removesuffix("-quarter") for run in needs[data, text])
    return "".join(
        f"- {published.TITLES[data]}, {' and '.join(words)}: {'; '.join(texts)}. "
        f"Needed: {', '.join(f'`{run}`' for run in dict.fromkeys(runs))}.\n"
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
