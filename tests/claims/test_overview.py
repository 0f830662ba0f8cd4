"""The front page: every claim, decided by its rule from made-up records."""

import json

import pytest

from experiments import reproduce
from experiments.claims import claims, estimates, overview
from experiments.pages.results import RECORDS
from experiments.paper.cost_records import PAPER, TEST, TRAIN
from experiments.paper.rows import BY_RUN
from experiments.paper.sources import Sources
from tests.made.pages import cells
from tests.made.series import chain, keep, single, unpruned

LOSSES = (1, 1, 1, 1, 1, 2, 3, 3)  # to 32 layers, (1, 5, 4)


def lines(text, start):
    """The lines of a page that begin with a text."""
    return [line for line in text.splitlines() if line.startswith(start)]


def all_claims(sources):
    """Every claim but those at a quarter of the epochs."""
    groups = overview.grouped_claims(sources)
    return [claim for name in groups if name != "quarter" for claim in groups[name]]


def states(records):
    """State of every claim by its text and data set."""
    sources = Sources(records)
    found = all_claims(sources)
    return {(claim.text, claim.data): claim.verdict.state for claim in found}


def chains(records, run, last, losses=LOSSES, **more):
    """All seeds of a chain that starts at 93 % and ends at an accuracy."""
    accuracies = (0.93, *[0.929] * (len(losses) - 1), last)
    for seed in BY_RUN[run].seeds:
        keep(records, run, seed, chain(losses=losses, accuracies=accuracies), **more)


def test_open_claims_of_imagenet_alone_have_no_estimated_hours(tmp_path):
    sources = Sources(tmp_path)
    found = [claims.first_stage("imagenet2012", sources.series("in-main"))]
    speeds = estimates.Speeds(tmp_path)
    assert overview._to_decide(found, set(), speeds) == "1 run"


def test_without_records_all_is_open_and_says_what_to_run(tmp_path):
    assert set(states(tmp_path).values()) == {"open"}
    result = overview.make(tmp_path)
    assert result.name == "README"
    count = len(overview.accuracy_claims(Sources(tmp_path)))
    row = cells(result.text, "Trained models", "full length")
    assert row[2:5] == ["0 of 52 runs", str(count), f"**{count} are open**"]
    assert row[5] == "52 runs: 13 h on an accelerator"
    for title in ("Times", "MACs and parameters"):
        row = cells(result.text, title)
        assert row[2:] == [
            "nothing",
            "3",
            "**3 are open**",
            "`python -m experiments.costs`",
        ]
    text = (
        "**None of the paper's 20 claims about trained models is decided: a verdict "
        "needs all planned seeds, and 0 of 52 runs at full length are on record. Of "
        "its 6 claims about computational cost, 6 are open.** No verdict contradicts "
        "the paper so far.\n\n| claims about |"
    )
    assert text in result.text  # nothing is said to be found
    assert "No run of the paper's experiments is finished yet." in result.text
    assert "## What was found" not in result.text
    # Claims that need the same runs are in one row; these need others before them.
    stage = "the first stage keeps the fewest units"
    row = cells(result.text, "CIFAR-100", f"no loss of accuracy at 35 layers; {stage}")
    before = "`c100-paper`; before them `c100-main`"
    assert row[2:] == ["full length", before, "0 of 3", "-"]
    row = cells(result.text, "CIFAR-10", "better than removing random", "a quarter")
    runs = "`c10-k2-quarter`, `c10-random-quarter`"
    assert row[3:5] == [runs, "0 of 3, 0 of 3"]
    row = cells(result.text, "ImageNet", "MACs cut to", "by construction")
    assert row[3:] == ["`python -m experiments.costs`", "-", "-"]
    names = "`in-main`, `in-plain34`, `in-distilled34` or `c10-small-lr-quarter`"
    assert f"Claims that need {names} have one planned seed" in result.text
    assert "percentage points are lost" not in result.text
    text = result.text.replace("\\|", "|")
    for claim in all_claims(Sources(tmp_path)):
        assert claim.needs and claim.text in text, claim


def test_pages_without_records_are_named_and_not_linked(tmp_path):
    text = overview.make(tmp_path).text
    assert overview.omitted(Sources(tmp_path)) == list(overview._PAGES)
    assert "](table" not in text and "](figure" not in text
    for command in ("queue", "costs", "zoo", "removal_study", "torture", "pipeline"):
        assert f"(`python -m experiments.{command}`)" in text
    keep(tmp_path, "c10-plain38", 0, single(38, 0.92))
    text = overview.make(tmp_path).text
    assert "- [Figure 3: accuracy against layers](figure3.md)" in text
    assert "- [All records](records.md)" in text and "](figure4.md)" not in text


@pytest.mark.parametrize("run", ["c10-k2-quarter", "c10-k4", "c10-plain38", None])
def test_a_page_is_left_out_exactly_when_its_maker_makes_none(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr("experiments.pages.library.draw", lambda *_, **__: "<svg/>")
    if run:
        keep(tmp_path, run, 0, chain())
    names = set(overview._PAGES)
    assert set(overview.omitted(Sources(tmp_path))) == {
        name for name in names if not reproduce.files(name, tmp_path)
    }


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
    chains(tmp_path, "c10-paper", last)
    chains(tmp_path, "c10-retrain30", last)
    chains(tmp_path, "c10-k2", last, losses=(11, 11, 12, 33))
    found = states(tmp_path)
    assert found["no loss of accuracy at 32 layers", "cifar10"] == no_loss
    text = "no loss at 32 layers with two units per round"
    assert found[text, "cifar10"] == no_loss
    text = "30 epochs of retraining maintain accuracy to some extent, at 32 layers"
    assert found[text, "cifar10"] == some_extent
    text = "the first stage keeps the fewest units"
    assert found[text, "cifar10"] == "holds"
    link = "[no loss of accuracy at 32 layers](table1.md)"
    row = cells(overview.make(tmp_path).text, link, "CIFAR-10")
    change = 100 * (last - 0.93)
    interval = f"{change:+.2f} [{change:+.2f}, {change:+.2f}] (n = 3); c10-paper"
    assert row[2:] == [f"**{no_loss}**: {interval}", "-"]


@pytest.mark.parametrize("last", [0.9, 0.932])
def test_only_the_setting_of_the_paper_decides(last, tmp_path):
    """Another one neither refutes nor confirms, and has a claim of its own."""
    shared = (
        "no loss of accuracy at 32 layers",
        "the first stage keeps the fewest units",
    )
    chains(tmp_path, "c10-k2", last, losses=(33, 33, 23, 12))
    chains(tmp_path, "c100-main", last)
    found = states(tmp_path)
    assert {found[text, "cifar10"] for text in shared} == {"open"}
    assert {found[key] for key in found if key[1] == "cifar100"} == {"open"}
    text = "no loss at 32 layers with two units per round"
    own = "holds" if last > 0.93 else "does not hold"
    assert found[text, "cifar10"] == own
    page = overview.make(tmp_path).text
    assert f"[{shared[0]}](table1.md)" not in page
    assert cells(page, f"[{text}](figure4.md)")[2].startswith(f"**{own}**: ")
    rounds = chain(losses=LOSSES, accuracies=(*[0.93] * 8, 0.9))
    for seed, expected in enumerate(("open (n = 1)", "open", "does not hold")):
        keep(tmp_path, "c10-paper", seed, rounds)
        assert states(tmp_path)[shared[0], "cifar10"] == expected


def test_no_claim_is_judged_before_all_planned_seeds(tmp_path):
    losses = (11, 11, 12, 33)
    rounds = chain(losses=losses, accuracies=(*[0.93] * 4, 0.932))
    single_units = chain(losses=LOSSES, accuracies=(*[0.93] * 8, 0.932))
    claimed = (
        "no loss of accuracy at 32 layers",
        "the first stage keeps the fewest units",
        "no loss at 32 layers with two units per round",
    )
    for seed, expected in enumerate(("open", "open", "holds")):
        keep(tmp_path, "c10-k2", seed, rounds)
        keep(tmp_path, "c10-paper", seed, single_units)
        found = states(tmp_path)
        if seed:
            assert all(found[text, "cifar10"].startswith(expected) for text in claimed)
        if seed == 1:
            page = overview.make(tmp_path).text
            for text in claimed:
                row = cells(page, f"[{text}](", "CIFAR-10")
                assert "only 2 of 3 planned seeds are finished" in row[2], row


def test_comparisons(tmp_path):
    chains(tmp_path, "c10-paper", 0.93)
    chains(tmp_path, "c10-main", 0.93)
    chains(tmp_path, "c10-k4", 0.92, losses=(1111, 1233))
    chains(tmp_path, "c10-k2", 0.93, losses=(11, 11, 12, 33))
    chains(tmp_path, "c10-random", 0.94, losses=(11, 11, 12, 33))
    chains(tmp_path, "c100-paper", 0.93)
    for seed in (0, 1, 2):
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
        ("better, at 38 layers, than a plain model of 38", "cifar10"): "holds",
        ("better, at 38 layers, than a plain model of 38", "cifar100"): "does not hold",
        ("like distillation, at 38 layers", "cifar10"): "holds",
        ("distillation to 38 layers is below the initial model", "cifar100"): "holds",
        ("one unit per round is better than four, at 32 layers", "cifar10"): "holds",
        ("better than removing random units", "cifar10"): "does not hold",
        (
            "better than the pruned architecture trained from scratch, for as much "
            "compute",
            "cifar10",
        ): "does not hold",
        (
            "c10-k2: no worse than the full model with the same restarts",
            "cifar10",
        ): "holds",
        (
            "the restarts of c10-k2 alone raise the full model's accuracy",
            "cifar10",
        ): "holds",
    }


def test_a_comparison_of_different_trainings_says_so(tmp_path):
    chains(tmp_path, "c10-paper", 0.93)
    for seed in (0, 1, 2):
        keep(tmp_path, "c10-plain38", seed, single(38, 0.92))
    link = "[better, at 38 layers, than a plain model of 38]"
    assert "trained in" not in cells(overview.make(tmp_path).text, link)[2]
    for run, checksum in (("paper", "1"), ("plain38", "2")):
        path = tmp_path / "cifar10" / f"c10-{run}-seed0" / "run.json"
        settings = json.loads(path.read_text())
        settings["dataset"]["fingerprint"] = checksum
        if run == "plain38":
            settings.update(recipe={"precision": "bfloat16"}, backend="tensorflow")
        path.write_text(json.dumps(settings))
    row = cells(overview.make(tmp_path).text, link)
    differ = "trained in bfloat16 and float32; trained in JAX and TensorFlow"
    assert row[2].endswith(f"; {differ}; different held-out images")


def test_one_seed_is_an_observation(tmp_path):
    """At a quarter of the epochs; the claims at the paper's epochs stay open."""
    losses = (11, 11, 12, 33)
    rounds = chain(losses=losses, accuracies=(0.93, 0.93, 0.93, 0.93, 0.932))
    keep(tmp_path, "c10-k2-quarter", 0, rounds)
    keep(tmp_path, "c10-restart-quarter", 0, unpruned(*[0.94] * 5))
    assert set(states(tmp_path).values()) == {"open"}
    sources = Sources(tmp_path)
    found = {claim.text: claim for claim in overview.quarter_claims(sources)}
    # The initial model of a quarter of the epochs is no fair comparison.
    assert "no loss of accuracy at 32 layers" not in found
    claim = found["c10-k2: no worse than the full model with the same restarts"]
    assert claim.verdict.state == "open (n = 1)"
    numbers = "-0.80 (n = 1); c10-k2-quarter and c10-restart-quarter"
    assert claim.numbers == f"{numbers}; can no longer hold with 3 seeds"
    claim = found["the first stage keeps the fewest units"]
    assert claim.verdict.state == "observed once"
    page = overview.make(tmp_path).text
    row = cells(page, f"[{claim.text}](table1.md)", "CIFAR-10")
    p = "in the only model, p = 0.019; c10-k2-quarter"
    assert row[2:] == ["not run: c10-paper", f"**observed once**: {p}"]
    row = cells(page, "Trained models, CIFAR-10", "a quarter of the epochs")
    assert row[2:5] == ["2 of 13 runs", "8", "**1 was observed once and 7 are open**"]
    assert row[5].startswith("11 runs: ")
    # The run itself, with its scale; what it lacks; the claims that are still open.
    row = cells(page, "cifar10/c10-k2-quarter")
    layers = "56 → 32 → 32"
    assert row[1:4] == ["a quarter of the epochs", layers, "93.00 (n = 1)"]
    both = f"{claim.text}; ω has two modes"
    row = cells(page, "CIFAR-10", both, "a quarter of the epochs")
    assert row[3:5] == ["`c10-k2-quarter`", "1 of 3"]
    command = "python -m experiments.unit_norms records/cifar10/c10-k2-quarter-seed0"
    needed = f"`c10-k2-quarter`, `{command} --data_dir=DATA`"
    assert f"| a quarter of the epochs | {needed} | 1 of 3 |" in page


def test_unfinished_runs_are_named(tmp_path):
    folder = keep(tmp_path, "c10-k2-quarter", 0, chain(accuracies=(0.9, 0.9)))
    (folder / "final.json").unlink()
    page = overview.make(tmp_path).text
    name = "cifar10/c10-k2-quarter-seed0"
    assert f"{name} (a quarter of the epochs, round 1 of 4 finished)" in page
    assert "No run of the paper's experiments is finished yet." in page


def test_smoke_tests_are_counted_and_not_shown(tmp_path):
    path = keep(tmp_path, "c10-main", 0, chain())
    path.rename(path.parent / "proof-seed0")
    page = overview.make(tmp_path).text
    assert "Smoke tests, which support no claim: 1 ([all records]" in page
    assert "| cifar10/" not in page


def test_smoke_records_decide_nothing(tmp_path):
    for run in ("c10-main", "c10-k2", "c10-k4", "c10-retrain30", "c10-random"):
        chains(tmp_path, run, 0.93, scale="smoke")
    assert set(states(tmp_path).values()) == {"open"}
    page = overview.make(tmp_path).text
    assert "**These numbers mean nothing.**" in page
    assert "0 of 52 runs at full length are on record" in page
    assert cells(page, "CIFAR-10", "no loss at 32 layers")[4] == "0 of 3"
    assert "What the finished runs show" not in page


def test_a_chain_that_ends_early_is_told(tmp_path):
    chains(tmp_path, "c10-paper", 0.93, losses=(1, 1))
    row = cells(overview.make(tmp_path).text, "[no loss of accuracy at 32")
    assert row[2:] == ["**open**: no model of that depth", "-"]


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
                    "environment": {
                        **{"cpu": machine, "cores": 2},
                        **{"devices": "1 cpu", "backend": "jax"},
                    },
                    "counts": {
                        "original": {"unfolded": {"macs": 100, "parameters": 100}},
                        "shortened": {
                            "unfolded": {"macs": macs, "parameters": parameters}
                        },
                    },
                    "times": {
                        measure.title: {"ratio": spread, "runs": 100}
                        for measure in measures
                    },
                }
            )
        path = tmp_path / "costs" / f"{machine}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"pairs": pairs}))
    found = states(tmp_path)
    counted = [state for (text, _), state in found.items() if text.startswith("MACs")]
    assert counted == ["not reproducible", "consistent", "does not hold"]
    faster = [state for (text, _), state in found.items() if "faster" in text]
    assert faster == ["holds", "open", "does not hold"]
    page = overview.make(tmp_path).text
    row = cells(page, "[MACs cut to 60.93 %, parameters to 69.82 %](table2.md)")
    assert row[2:] == ["**not reproducible**: 57.59 %, 69.29 %"]
    row = cells(page, "[training and testing are faster](figure7.md)", "CIFAR-10")
    both = "training 70 %, testing 70 % (n = 100)"
    numbers = f"on 2 machines, {both}; {both}; printed 60 %, 60 %"
    assert row[2:] == [f"**holds**: {numbers}"]
    # What no model can have is no failed claim.
    row = cells(page, "MACs and parameters", "by construction")
    assert row[2] == "a, 2 cores, jax; b, 2 cores, jax"
    counts = "1 does not hold, 1 is consistent and 1 is not reproducible"
    assert row[3:] == ["3", f"**{counts}**", "-"]
    # The first paragraph states what contradicts the paper.
    (line,) = lines(page, "**None of the paper's 20 claims about trained models is ")
    counts = (
        "1 holds, 2 do not hold, 1 is consistent, 1 is not reproducible and 1 is open"
    )
    assert f"Of its 6 claims about computational cost, {counts}.**" in line
    numbers = "the nearest model has 57.59 %, 69.29 %."
    assert f"(CIFAR-10) is not reproducible; {numbers}" in line
    assert "(ImageNet) does not hold: 70.00 %, 93.15 %" in line


def test_records_that_leave_doubts_decide_nothing(tmp_path):
    """A seed that stopped early; a net that the test set chose, or the initial one."""
    key = ("no loss of accuracy at 32 layers", "cifar10")
    chains(tmp_path / "a", "c10-paper", 0.932)
    assert states(tmp_path / "a")[key] == "holds"
    keep(tmp_path / "a", "c10-paper", 2, chain(losses=(1,), accuracies=(0.93, 0.9)))
    assert states(tmp_path / "a")[key] == "open"
    row = cells(overview.make(tmp_path / "a").text, f"[{key[0]}](table1.md)")
    assert row[2].endswith("c10-paper; only 2 of 3 seeds have such a model")

    series = Sources(tmp_path / "a").series("c10-paper")
    assert series.doubt(series.initial()) == ""
    kept = series.doubt(series.initial(), chosen=True)
    assert kept == "nothing removed in 3 of 3 seeds"


def test_the_chance_to_refute_the_loss_on_record(tmp_path):
    chains(tmp_path, "c10-k2", 0.926, losses=(11, 11, 12, 33))
    page = overview.make(tmp_path).text
    # Half the distance to the margin has half the shift: checked by `power`.
    loss = "If 0.40 percentage points are lost, as by `c10-k2` (n = 3), it is refuted"
    assert f"{loss} with 13, 50 and 82 %." in page
    chains(tmp_path, "c10-k2", 0.9295, losses=(11, 11, 12, 33))
    assert "percentage points are lost" not in overview.make(tmp_path).text


def test_the_history_of_the_rules_states_the_record():
    series = Sources(RECORDS).series("c10-k2")
    (loss, *_) = (
        series.accuracies(series.initial())[0] - accuracy
        for seed, accuracy in series.accuracies(series.at(32)).items()
        if seed == 0
    )
    text = " ".join(claims.HISTORY.split())
    assert f"in which `c10-k2` lost {100 * loss:.2f} pp at 32 layers" in text
