"""The front page of the results: every claim of the paper, and how it stands here."""

import dataclasses

from experiments import claims, cost_claims, paper, tables
from experiments.differences import FAILS, HOLDS, OPEN
from experiments.results import RECORDS, markdown_table
from experiments.rows import BY_RUN, CHAINS
from experiments.sources import Sources

_ABOUT = """What of the paper holds here, as far as it was run. Every line is decided by
a rule from committed records, none by hand; numbers in points are differences of
accuracy on the test set with their 95 % intervals.

Words: a *chain* is a net shortened round by round, its *main* one `c10-main` on
CIFAR-10; the *chosen* net of a chain is its smallest that kept the accuracy; ω is the
learned importance of a residual unit ([the paper, as implemented](../paper.md)). *Open*
is what no record decides yet."""
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
    "bench": "How fast it is",
    "pipeline": "How fast ImageNet is read",
    "seeds": "Several seeds: one after another, or side by side",
}


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    trained, costs = accuracy_claims(sources), costs_claims(sources)
    further = claims.further(sources)
    result = sources.result(
        "Results",
        "overview",
        _ABOUT,
        f"{_count('claims on trained nets', trained)}\n\n"
        f"{_count('claims on cost', costs)}\n",
        f"## Trained nets\n\n{_table('claim of the paper', trained)}",
        f"## Cost\n\n{_COSTS}\n{_table('claim of the paper', costs)}",
        f"## What the paper does not ask\n\n{_table('claim', further)}",
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
    chains = {name: sources.fullest(*runs) for name, runs in CHAINS.items()}
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


def costs_claims(sources):
    """What counting and timing decide, with nets that nobody trained."""
    judges = (cost_claims.counts, cost_claims.faster)
    return [judge(sources, name) for judge in judges for name in paper.TITLES]


def _count(title, found):
    states = [claim.verdict.state for claim in found]
    return (
        f"**{len(states)} {title}: {states.count(HOLDS)} hold here, "
        f"{states.count(FAILS)} fail, {states.count(OPEN)} open.**"
    )


def _table(title, found):
    rows = [
        [
            claim.text,
            paper.TITLES[claim.data],
            claim.verdict.state
            if claim.verdict.state == OPEN
            else f"**{claim.verdict.state}**",
            claim.numbers,
            f"[{_PAGES[claim.page].split(':')[0].split(',')[0]}]({claim.page}.md)",
        ]
        for claim in found
    ]
    return markdown_table([title, "data set", "here", "numbers", "details"], rows)


def _elsewhere(records):
    """Runs of several seeds that no claim of the paper is about."""
    table = tables.over_seeds(records, without=BY_RUN)
    return [f"## On other data, in small\n\n{_ELSEWHERE}\n{table}"] if table else []


def _pages():
    return "".join(f"- [{title}]({name}.md)\n" for name, title in _PAGES.items())
