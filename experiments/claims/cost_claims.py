"""The paper's claims about cost: counts, true by construction, and measured times."""

from experiments.claims.claims import Claim
from experiments.pages.differences import (
    CONSISTENT,
    FAILS,
    HOLDS,
    IMPOSSIBLE,
    OPEN,
    Verdict,
)
from experiments.pages.library import counted
from experiments.paper import cost_records, published
from experiments.paper.possible import AGREE, impossible

RULES = f"""- *MACs and parameters* are *consistent* if they agree to {AGREE} pp. The
  units of each stage, the widths and the strides were inferred from these numbers, so
  this is no independent test. Numbers that no choice of units can have are *not
  reproducible*, which is not a failure; Table 2 states why.
- *Faster*: at least 90 % of the paired measurements on every machine. The times that
  the paper prints are not judged, because its device and batch size are unknown.
"""


def counts(sources, name):
    """Table 2: the counts of the paper's smallest model."""
    model = next(model for model in cost_records.PAPER if model.dataset == name)
    theirs = {key: published.COSTS[name][key] for key in ("macs", "parameters")}
    macs, parameters = theirs.values()
    text = f"MACs cut to {macs:.2f} %, parameters to {parameters:.2f} %"
    found = cost_records.counts(cost_records.read_machines(sources.records), model)
    if not found:
        return _not_measured(text, name, "table2")
    ours = {key: cost_records.share(found, key) for key in theirs}
    agree = all(abs(ours[key] - theirs[key]) <= AGREE for key in theirs)
    numbers = f"{ours['macs']:.2f} %, {ours['parameters']:.2f} %"
    state, reason = CONSISTENT if agree else FAILS, ""
    if not agree and impossible(name):
        state, reason = IMPOSSIBLE, published.NOT_REPRODUCIBLE_BECAUSE
    return Claim(text, name, Verdict(state, reason), numbers, "table2")


def faster(sources, name):
    """Figure 7: the pruned model takes less time."""
    model = next(model for model in cost_records.PAPER if model.dataset == name)
    text = "training and testing are faster"
    measures = {"training": cost_records.TRAIN[name], "testing": cost_records.TEST}
    ratios = [
        (machine.name, phase, times["ratio"], times["runs"])
        for machine in cost_records.read_machines(sources.records)
        for phase, measure in measures.items()
        if (times := machine.times(model, measure))
    ]
    if len(ratios) < max(1, len({title for title, *_ in ratios})) * len(measures):
        return _not_measured(text, name, "figure7")
    numbers = "; ".join(
        ", ".join(
            f"{phase} {100 * ratio['median']:.0f} %"
            for title, phase, ratio, _ in ratios
            if title == machine
        )
        + f" (n = {min(runs for title, *_, runs in ratios if title == machine)})"
        for machine in dict.fromkeys(title for title, *_ in ratios)
    )
    theirs = [published.COSTS[name][key] for key in ("backward", "forward")]
    numbers += f"; printed {theirs[0]:.0f} %, {theirs[1]:.0f} %"
    machines = len({title for title, *_ in ratios})
    numbers = f"on {counted(machines, 'machine')}, {numbers}"
    state = OPEN
    if all(ratio["p90"] < 1 for *_, ratio, _ in ratios):
        state = HOLDS
    elif any(ratio["p10"] > 1 for *_, ratio, _ in ratios):
        state = FAILS
    return Claim(text, name, Verdict(state, ""), numbers, "figure7")


def _not_measured(text, name, page):
    verdict, needs = Verdict(OPEN, "not run"), (cost_records.COMMAND,)
    return Claim(text, name, verdict, "not measured", page, needs)
