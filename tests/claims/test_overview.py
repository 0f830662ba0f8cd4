"""The front page: every claim, decided by its rule from made-up records."""

import json

import pytest

from experiments.claims import overview
from experiments.paper.cost_records import PAPER, TEST, TRAIN
from experiments.paper.sources import Sources
from tests.made.pages import cells
from tests.made.series import chain, keep, single, unpruned

LOSSES = (1, 1, 1, 1, 1, 2, 3, 3)  # to 32 layers, (1, 5, 4)


def all_claims(sources):
    of_trained, of_costs = overview.accuracy_claims, overview.costs_claims
    further = overview.further_claims(sources)
    return [*of_trained(sources), *of_costs(sources), *further]


def states(records):
    """State of every claim by its text and data set."""
    sources = Sources(records)
    found = all_claims(sources)
    return {(claim.text, claim.data): claim.verdict.state for claim in found}


def chains(records, run, last, losses=LOSSES, **more):
    """Two seeds of a chain that starts at 93 % and ends at an accuracy."""
    accuracies = (0.93, *[0.929] * (len(losses) - 1), last)
    for seed in (0, 1):
        keep(records, run, seed, chain(losses=losses, accuracies=accuracies), **more)


def test_without_records_all_is_open_and_says_what_to_run(tmp_path):
    assert set(states(tmp_path).values()) == {"open"}
    result = overview.make(tmp_path)
    assert result.name == "README"
    count = len(overview.accuracy_claims(Sources(tmp_path)))
    line = f"**{count} claims on trained nets: 0 hold here, 0 fail, {count} open.**"
    assert line in result.text
    assert "**6 claims on cost: 0 hold here, 0 fail, 6 open.**" in result.text
    row = cells(result.text, "no loss of accuracy at 32 layers")
    assert row[1:] == ["CIFAR-10", "open", "not run (1)", "[Table 1](table1.md)"]


def test_every_claim_leads_to_a_page_and_is_told_apart(tmp_path):
    sources = Sources(tmp_path)
    found = all_claims(sources)
    assert {claim.page for claim in found} <= set(overview._PAGES)
    assert len(states(tmp_path)) == len(found)


@pytest.mark.parametrize(
    ("last", "no_loss", "some_extent"),
    [
        (0.932, "holds", "holds"),
        (0.925, "does not hold", "holds"),
        (0.9, "does not hold", "does not hold"),
    ],
)
def test_losses(last, no_loss, some_extent, tmp_path):
    chains(tmp_path, "c10-main", last)
    chains(tmp_path, "c10-retrain30", last)
    chains(tmp_path, "c10-k2", last, losses=(11, 11, 12, 33))
    found = states(tmp_path)
    assert found["no loss of accuracy at 32 layers", "cifar10"] == no_loss
    text = "no loss at 32 layers with two units a round"
    assert found[text, "cifar10"] == no_loss
    text = "30 epochs of retraining keep accuracy to some extent, at 32 layers"
    assert found[text, "cifar10"] == some_extent
    text = "the first stage keeps the fewest units, at 32 layers"
    assert found[text, "cifar10"] == "holds"
    row = cells(overview.make(tmp_path).text, "no loss of accuracy at 32", "CIFAR-10")
    change = 100 * (last - 0.93)
    interval = f"{change:+.2f} [{change:+.2f}, {change:+.2f}] (n = 2); c10-main"
    assert row[3] == interval


def test_the_setting_of_the_paper_decides_once_it_has_as_many_seeds(tmp_path):
    chains(tmp_path, "c10-main", 0.9)
    rounds = chain(losses=LOSSES, accuracies=[0.93] * 9)
    keep(tmp_path, "c10-paper", 0, rounds)
    key = ("no loss of accuracy at 32 layers", "cifar10")
    assert states(tmp_path)[key] == "does not hold"
    keep(tmp_path, "c10-paper", 1, rounds)
    assert states(tmp_path)[key] == "holds"


def test_comparisons(tmp_path):
    chains(tmp_path, "c10-main", 0.93)
    chains(tmp_path, "c10-k4", 0.92, losses=(1111, 1233))
    chains(tmp_path, "c10-k2", 0.93, losses=(11, 11, 12, 33))
    chains(tmp_path, "c10-random", 0.94, losses=(11, 11, 12, 33))
    chains(tmp_path, "c100-main", 0.93)
    for seed in (0, 1):
        keep(tmp_path, "c10-plain38", seed, single(38, 0.92))
        keep(tmp_path, "c10-distilled38", seed, single(38, 0.93))
        keep(tmp_path, "c100-plain38", seed, single(38, 0.94))
        keep(tmp_path, "c100-distilled38", seed, single(38, 0.91))
        keep(tmp_path, "c10-scratch-b", seed, single(32, 0.94))
        keep(tmp_path, "c10-restart", seed, unpruned(0.93, 0.94, 0.94, 0.94, 0.931))
    found = states(tmp_path)
    decided = {key: state for key, state in found.items() if state != "open"}
    for key in list(decided):
        if "no loss" in key[0] or "first stage" in key[0] or "modes" in key[0]:
            del decided[key]
    assert decided == {
        ("better, at 38 layers, than a plain net of 38", "cifar10"): "holds",
        ("better, at 38 layers, than a plain net of 38", "cifar100"): "does not hold",
        ("like distillation, at 38 layers", "cifar10"): "holds",
        ("distillation to 38 layers is below the initial net", "cifar100"): "holds",
        ("one unit a round is better than four, at 32 layers", "cifar10"): "holds",
        ("better than removing random units, at 32 layers", "cifar10"): "does not hold",
        (
            "better than the pruned architecture trained from scratch, for as much "
            "compute",
            "cifar10",
        ): "does not hold",
        (
            "c10-k2: no worse than the full model after the same restarts",
            "cifar10",
        ): "holds",
        (
            "the restarts of c10-k2 alone raise the accuracy of the full model",
            "cifar10",
        ): "holds",
    }


def test_one_seed_is_an_observation(tmp_path):
    """At a quarter of the epochs; the claims at the paper's epochs stay open."""
    losses = (11, 11, 12, 33)
    rounds = chain(losses=losses, accuracies=(0.93, 0.93, 0.93, 0.93, 0.932))
    keep(tmp_path, "c10-k2-quarter", 0, rounds)
    keep(tmp_path, "c10-restart-quarter", 0, unpruned(*[0.94] * 5))
    assert set(states(tmp_path).values()) == {"open"}
    sources = Sources(tmp_path)
    found = {claim.text: claim for claim in overview.quarter_claims(sources)}
    claim = found["no loss of accuracy at 32 layers"]
    assert claim.verdict.state == "open (n = 1)"
    assert claim.numbers == "+0.20 (n = 1); c10-k2-quarter"
    claim = found["c10-k2: no worse than the full model after the same restarts"]
    assert claim.numbers == "-0.80 (n = 1); c10-k2-quarter and c10-restart-quarter"
    claim = found["the first stage keeps the fewest units, at 32 layers"]
    assert claim.verdict.state == "observed once"
    page = overview.make(tmp_path).text
    quarter = page[page.index("## Trained nets, a quarter") :]
    assert cells(quarter, "no loss of accuracy at 32 layers")[2] == "open (n = 1)"
    assert "0 hold here, 0 fail, 1 observed once, " in page


def test_smoke_records_decide_nothing(tmp_path):
    for run in ("c10-main", "c10-k2", "c10-k4", "c10-retrain30", "c10-random"):
        chains(tmp_path, run, 0.93, scale="smoke")
    assert set(states(tmp_path).values()) == {"open"}
    assert "**These numbers mean nothing.**" in overview.make(tmp_path).text


def test_a_chain_that_ends_early_is_told(tmp_path):
    chains(tmp_path, "c10-main", 0.93, losses=(1, 1))
    row = cells(overview.make(tmp_path).text, "no loss of accuracy at 32")
    assert row[2:4] == ["open", "no net of that depth"]


def test_costs(tmp_path):
    """Counts of the paper's own ratios but on ImageNet; times of two machines."""
    shares = {"cifar10": (57.59, 69.29), "cifar100": (62.90, 90.5)}
    for machine, slow in (("a", 0.9), ("b", 1.1)):
        pairs = []
        for net in PAPER:
            macs, parameters = shares.get(net.dataset, (70.0, 93.15))
            spread = {"p10": 0.6, "median": 0.7, "p90": 0.8}
            if net.dataset == "cifar100":
                spread["p90"] = slow
            if net.dataset == "imagenet2012":
                spread = {"p10": 1.05, "median": 1.1, "p90": 1.2}
            measures = (TRAIN[net.dataset], TEST)
            pairs.append(
                {
                    "dataset": net.dataset,
                    "units": net.units,
                    "counts": {
                        "original": {"unfolded": {"macs": 100, "parameters": 100}},
                        "shortened": {
                            "unfolded": {"macs": macs, "parameters": parameters}
                        },
                    },
                    "times": {measure.title: {"ratio": spread} for measure in measures},
                }
            )
        path = tmp_path / "costs" / f"{machine}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"pairs": pairs}))
    found = states(tmp_path)
    counted = [state for (text, _), state in found.items() if text.startswith("MACs")]
    assert counted == ["does not hold", "holds", "does not hold"]
    faster = [state for (text, _), state in found.items() if "faster" in text]
    assert faster == ["holds", "open", "does not hold"]
    page = overview.make(tmp_path).text
    row = cells(page, "MACs cut to 60.93 %, parameters to 69.82 %")
    assert row[2:4] == ["**does not hold**", "57.59 %, 69.29 %; not reproducible"]


def test_records_that_leave_doubts_decide_nothing(tmp_path):
    """A seed that stopped early; a net that the test set chose, or the initial one."""
    key = ("no loss of accuracy at 32 layers", "cifar10")
    chains(tmp_path / "a", "c10-main", 0.932)
    assert states(tmp_path / "a")[key] == "holds"
    keep(tmp_path / "a", "c10-main", 2, chain(losses=(1,), accuracies=(0.93, 0.9)))
    assert states(tmp_path / "a")[key] == "open"
    row = cells(overview.make(tmp_path / "a").text, key[0])
    assert row[3].endswith("c10-main; only 2 of 3 seeds have such a net")

    series = Sources(tmp_path / "a").series("c10-main")
    assert series.doubt(series.initial()) == ""
    kept = series.doubt(series.initial(), chosen=True)
    assert kept == "nothing removed in 3 of 3 seeds"
