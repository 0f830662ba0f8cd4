"""The front page of the results: every claim of the paper, and how it stands here."""

import dataclasses

from experiments.claims import claims, controls, cost_claims
from experiments.pages import records_page
from experiments.pages.differences import FAILS, HOLDS, ONCE, OPEN
from experiments.pages.results import RECORDS, markdown_table
from experiments.paper import published
from experiments.paper.rows import BY_RUN, CHAINS, paper_chains
from experiments.paper.sources import Sources

_ABOUT = """Which of the paper's claims have been reproduced so far. Rules decide every
line from committed records; no verdict is set by hand. Numbers are differences of test
accuracy in percentage points with their 95 % intervals.

A *pruning run* (*chain*) trains a model, removes units and retrains, round by round. On
CIFAR-10 there are two with short retrainings: `c10-k2` removes two units per round and
is the one that controls are compared with; `c10-main` removes one. The *chosen* model
of a run is the smallest that maintained the accuracy. ω is the learned importance of a
residual unit ([the paper, as implemented](../paper.md)). *Open* means that no record
decides the claim yet."""
_QUARTER = """The same pruning run with all epochs divided by four: 50, then 15 for each
retraining. Claims of the paper are judged here at that scale; they do not count as
claims at the paper's epochs.
"""
_COSTS = """Counted and timed with untrained nets of the paper's kept units. These units
are not in its text: they were inferred from the printed percentages, so that agreement
says that such nets exist and are counted as the paper counts, not that training leads
to them.
"""
_ELSEWHERE = """Smaller nets on small data, far from the paper's setting: what they show
is how the method behaves, and how large the noise is. *Change*: of test accuracy in
points, chosen net less initial net of the same seed; *no loss* by the rule below.
"""
_PAGES = {
    "table1": "Table 1: layers left without loss of accuracy",
    "table2": "Table 2: computational cost",
    "table3": "Table 3: parameters",
    "figure3": "Figure 3: accuracy against layers",
    "figure4": "Figure 4: epochs of retraining, units at once",
    "figure5": "Figure 5: importance and what a unit adds",
    "figure6": "Figure 6: importances after training",
    "figure7": "Figure 7: times of training and testing",
    "controls": "Controls, and beyond the paper",
    "records": "What was run",
    "models": "Trained models, with their cards",
    "bench": "How fast it is",
    "pipeline": "How fast ImageNet is read",
    "torture": "Kills, damage and hostile files",
    "removal_study": "Removal without training",
    "retraining": "Retraining of a trained network",
    "pretrained": "A trained network pruned by default settings",
    "zoo": "Units of well-known networks",
}


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    trained, costs = accuracy_claims(sources), costs_claims(sources)
    quarter = quarter_claims(sources)
    result = sources.result(
        "Results",
        "overview",
        _ABOUT,
        f"{_count('claims on trained nets', trained)}\n\n"
        f"{_count('claims at a quarter of the epochs', quarter)}\n\n"
        f"{_count('claims on cost', costs)}\n",
        "## Trained nets, the paper's epochs\n\n"
        f"{_table('claim of the paper', trained)}",
        "## Trained nets, a quarter of the paper's epochs\n\n"
        f"{_QUARTER}\n{_table('claim', quarter)}",
        f"## Cost\n\n{_COSTS}\n{_table('claim of the paper', costs)}",
        f"## What the paper does not ask\n\n{_table('claim', further_claims(sources))}",
        *_elsewhere(records),
        f"## Rules\n\n{claims.RULES}{cost_claims.RULES}",
        f"## Pages\n\n{_pages()}",
    )
    return dataclasses.replace(result, name="README")


def accuracy_claims(sources):
    """What the paper shows, or argues, with trained nets.

    Args:
        sources: `Sources`.

    Returns:
        list of `Claim`, in the order of the paper's tables and figures.
    """
    chains = {name: sources.fullest(*paper_chains(name)) for name in CHAINS}
    return [
        *(claims.no_loss(sources, name, chain) for name, chain in chains.items()),
        *(claims.first_stage(sources, name, chain) for name, chain in chains.items()),
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
        claims.no_loss(sources, name, chain),
        *claims.restarts(sources, scale),
        *claims.argued(sources, scale),
        *claims.from_scratch(sources, scale),
        claims.first_stage(sources, name, chain),
        claims.monotone(sources, scale),
        claims.modes(sources, scale),
    ]


def further_claims(sources):
    """What the paper leaves open: what restarts and long training alone do."""
    return [
        *claims.restarts(sources),
        *claims.from_scratch(sources),
        *claims.short(sources),
    ]


def costs_claims(sources):
    """What counting and timing decide, with nets that nobody trained."""
    judges = (cost_claims.counts, cost_claims.faster)
    return [judge(sources, name) for judge in judges for name in published.TITLES]


def _count(title, found):
    states = [claim.verdict.state for claim in found]
    once = f"{states.count(ONCE)} observed once, " if ONCE in states else ""
    return (
        f"**{len(states)} {title}: {states.count(HOLDS)} hold here, "
        f"{states.count(FAILS)} fail, {once}"
        f"{sum(state.startswith(OPEN) for state in states)} open.**"
    )


def _table(title, found):
    rows = [
        [
            claim.text,
            published.TITLES[claim.data],
            claim.verdict.state
            if claim.verdict.state.startswith(OPEN)
            else f"**{claim.verdict.state}**",
            claim.numbers,
            f"[{_PAGES[claim.page].split(':')[0].split(',')[0]}]({claim.page}.md)",
        ]
        for claim in found
    ]
    return markdown_table([title, "data set", "here", "numbers", "details"], rows)


def _elsewhere(records):
    """Runs of several seeds that no claim of the paper is about."""
    table = records_page.over_seeds(records, without=BY_RUN)
    return [f"## On other data, in small\n\n{_ELSEWHERE}\n{table}"] if table else []


def _pages():
    return "".join(f"- [{title}]({name}.md)\n" for name, title in _PAGES.items())
