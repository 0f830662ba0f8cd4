"""The paper's claims that measured costs decide."""

from experiments.claims.claims import Claim
from experiments.pages.differences import FAILS, HOLDS, OPEN, Verdict
from experiments.paper import cost_records, published

_AGREE = 0.05  # points: the dense layer, counted or not, makes 0.01 of them
RULES = f"""- *MACs and parameters* agree to {_AGREE} points.
- *Faster*: nine of ten turns of the measurement, in training and in testing, on every
  machine on record.
"""


def counts(sources, name):
    """Table 2: the counts of the paper's smallest net, as a `Claim`."""
    net = next(net for net in cost_records.PAPER if net.dataset == name)
    theirs = {key: published.COSTS[name][key] for key in ("macs", "parameters")}
    macs, parameters = theirs.values()
    text = f"MACs cut to {macs:.2f} %, parameters to {parameters:.2f} %"
    found = cost_records.counts(cost_records.read_machines(sources.records), net)
    if not found:
        numbers = sources.not_run.cell(cost_records.COMMAND)
        return Claim(text, name, Verdict(OPEN, "not run"), numbers, "table2")
    ours = {key: cost_records.share(found, key) for key in theirs}
    agree = all(abs(ours[key] - theirs[key]) <= _AGREE for key in theirs)
    numbers = f"{ours['macs']:.2f} %, {ours['parameters']:.2f} %"
    if any(dataset == name for dataset, _ in published.NOT_REPRODUCIBLE):
        numbers += "; not reproducible"
    return Claim(text, name, Verdict(HOLDS if agree else FAILS, ""), numbers, "table2")


def faster(sources, name):
    """Figure 7: the shortened net takes less time, as a `Claim`."""
    net = next(net for net in cost_records.PAPER if net.dataset == name)
    text = "training and testing are faster"
    measures = {"training": cost_records.TRAIN[name], "testing": cost_records.TEST}
    ratios = [
        (machine.name, phase, times["ratio"])
        for machine in cost_records.read_machines(sources.records)
        for phase, measure in measures.items()
        if (times := machine.times(net, measure))
    ]
    if len(ratios) < max(1, len({title for title, *_ in ratios})) * len(measures):
        numbers = sources.not_run.cell(cost_records.COMMAND)
        return Claim(text, name, Verdict(OPEN, "not run"), numbers, "figure7")
    numbers = "; ".join(
        f"{machine}: "
        + ", ".join(
            f"{phase} {100 * ratio['median']:.0f} %"
            for title, phase, ratio in ratios
            if title == machine
        )
        for machine in dict.fromkeys(title for title, *_ in ratios)
    )
    state = OPEN
    if all(ratio["p90"] < 1 for *_, ratio in ratios):
        state = HOLDS
    elif any(ratio["p10"] > 1 for *_, ratio in ratios):
        state = FAILS
    return Claim(text, name, Verdict(state, ""), numbers, "figure7")
