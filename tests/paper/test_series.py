"""Statistics over seeds, against values worked out by hand."""

import functools
import math

import numpy as np
import pytest

from experiments.pages import differences
from experiments.pages.differences import FAILS, HOLDS, OPEN, OPEN_ONCE, Paired, Summary
from experiments.paper import series
from experiments.paper.rows import BY_RUN
from experiments.paper.sources import Sources
from tests.made.series import chain, keep

# Of three differences 0, 1 and 2 points: mean 1, sd 1, t(0.975; 2) = 4.302653.
HALF = 0.01 * 4.302652729911275 / math.sqrt(3)


def read(records, run="c10-main"):
    return series.Series.read(records, BY_RUN[run])


def test_summaries():
    assert differences.summarize([]) is None
    assert differences.summarize([0.9]) == Summary(0.9, None, 1)
    mean, sd, n = differences.summarize([1.0, 2.0, 6.0])
    assert (mean, n) == (3.0, 3) and sd == pytest.approx(math.sqrt(7))


def test_verdicts_that_no_seed_can_bring_any_more():
    """|t| of -d, a, a is below 2 for any d and a > 0, and 4.3 is needed."""

    def lost(values, seeds, judge=differences.no_drop):
        return differences.excluded(judge, differences.mean_interval(values), seeds)

    assert lost([-0.0041], 3) == [HOLDS]
    assert lost([-0.0019], 3) == [FAILS]
    assert lost([-0.0041], 8) == []
    assert lost([-0.0041, 0.5], 3) == [HOLDS, FAILS]
    assert lost([0.01, 0.011], 3) == [FAILS]
    assert lost([0.01], 3, differences.equal) == [HOLDS]
    # All seeds are known: what the rule says remains.
    assert lost([0.01, 0.01, 0.011], 3) == [FAILS]
    assert lost([-0.01, 0.01], 2) == [HOLDS, FAILS]
    # The best that a third seed can do, found in steps of 0.01 points.
    first = [0.0, 0.01]
    best = max(
        differences.mean_interval([*first, step / 10_000]).low
        for step in range(-1000, 1000)
    )
    for bound, expected in ((best - 1e-5, False), (best + 1e-5, True)):
        judge = functools.partial(differences.above, bound=bound)
        assert (HOLDS in lost(first, 3, judge)) == expected


def test_pairs_are_of_the_same_seed():
    first = {0: 0.90, 1: 0.91, 2: 0.93, 7: 0.1}
    second = {0: 0.90, 1: 0.90, 2: 0.91, 8: 0.9}
    paired = differences.pair(first, second)
    expected = (0.01, 0.01, 3, 0.01 - HALF, 0.01 + HALF)
    assert paired == pytest.approx(expected, abs=1e-9)
    assert differences.pair({0: 0.5}, {1: 0.5}) is None
    assert differences.pair({0: 0.5}, {0: 0.25}) == Paired(0.25, None, 1, None, None)
    same = differences.pair({0: 0.5, 1: 0.75}, {0: 0.25, 1: 0.5})
    assert same == Paired(0.25, 0.0, 2, 0.25, 0.25)


@pytest.mark.parametrize(
    ("low", "high", "kept", "same", "better"),
    [
        (-0.001, 0.001, HOLDS, HOLDS, OPEN),
        (0.001, 0.004, HOLDS, OPEN, HOLDS),
        (0.003, 0.004, HOLDS, FAILS, HOLDS),
        (-0.003, 0.001, OPEN, OPEN, OPEN),
        (-0.005, -0.003, FAILS, FAILS, FAILS),
        (None, None, OPEN_ONCE, OPEN_ONCE, OPEN_ONCE),
    ],
)
def test_verdicts(low, high, kept, same, better):
    paired = Paired(0.0, None if low is None else 0.1, 2, low, high)
    assert differences.no_drop(paired).state == kept
    assert differences.equal(paired).state == same
    assert differences.above(paired, 0).state == better


def test_open_verdicts_say_why():
    assert differences.no_drop(None) == (OPEN, "not run")
    one = differences.pair({0: 0.5}, {0: 0.5})
    assert differences.no_drop(one) == (OPEN_ONCE, "one seed has no spread")
    wide = Paired(0.0, 0.1, 4, -0.1, 0.1)
    reason = "too wide an interval of 4 seeds"
    assert differences.no_drop(wide) == (OPEN, reason)


def test_series_of_three_seeds(tmp_path):
    for seed in range(3):
        accuracies = (0.90, 0.89, 0.90 + 0.01 * seed)
        keep(tmp_path, "c10-main", seed, chain(losses=(1, 3), accuracies=accuracies))
    found = read(tmp_path)
    assert list(found.runs) == [0, 1, 2] and not found.smoke
    assert (found.layers, found.split) == ([56, 53, 50], "validation")
    assert found.processors == "1 H200"
    assert found.accuracies(found.at(53)) == {0: 0.89, 1: 0.89, 2: 0.89}
    assert found.accuracies(found.at({0: 53, 1: 50})) == {0: 0.89, 1: 0.91}
    assert found.at(47) == {}
    expected = (0.01, 0.01, 3, 0.01 - HALF, 0.01 + HALF)
    for split in ("test", "validation"):
        change = found.change(found.chosen(), split)
        assert change == pytest.approx(expected, abs=1e-9)
    assert series.kept_units(found.chosen()[1]) == {
        "stage1": 5,
        "stage2": 6,
        "stage3": 5,
    }
    assert found.spent("epochs") == {0: 320, 1: 320, 2: 320}
    assert found.spent("epochs", found.at({0: 56, 2: 53})) == {0: 200, 2: 260}


def test_records_that_are_not_there(tmp_path):
    assert read(tmp_path).runs == {}
    folder = keep(tmp_path, "c10-main", 1, chain())
    keep(tmp_path, "c10-main", 7, chain())  # no seed of the row
    assert list(read(tmp_path).runs) == [1]
    (folder / "final.json").unlink()  # the run goes on
    assert read(tmp_path).runs == {}


def test_rounds_by_number_and_accuracies_of_both_splits(tmp_path):
    keep(tmp_path, "c10-main", 0, chain(accuracies=(0.9, 0.93)))
    found = read(tmp_path)
    assert found.last() == found.rounds(1) == found.rounds({0: 1})
    assert found.rounds(2) == {}
    # 10,000 images at 93 % and 5,000 at 92 %.
    pooled = found.accuracies(found.last(), "pooled")
    assert pooled == pytest.approx({0: (2 * 0.93 + 0.92) / 3})


def test_unmeasured_accuracies_are_left_out(tmp_path):
    keep(tmp_path, "c10-main", 0, chain(accuracies=(0.9, 0.9)))
    keep(tmp_path, "c10-main", 1, chain(accuracies=(0.9, math.nan)))
    found = read(tmp_path)
    assert found.accuracies(found.chosen()) == {0: 0.9}


def test_smoke_records_are_told(tmp_path):
    keep(tmp_path, "c10-main", 0, chain())
    sources = Sources(tmp_path)
    sources.series("c10-main")
    assert "mean nothing" not in sources.result("T", "t", "About.").text
    keep(tmp_path, "c10-k2", 0, chain(), scale="smoke")
    assert sources.series("c10-k2").smoke
    assert "**These numbers mean nothing.**" in sources.result("T", "t", "About.").text


def test_a_page_lists_what_it_used_and_what_is_not_run(tmp_path):
    keep(tmp_path, "c10-main", 2, chain())
    sources = Sources(tmp_path)
    assert not sources.on_record(["c10-paper", "c10-k2"])
    assert sources.on_record(["c10-k2", "c10-main"])
    page = sources.result("T", "t", "About.", "Part.\n").text
    start = "# T\n\nGenerated by `make reproduce-t` from the committed records;"
    assert page.startswith(start)
    link = "[2](../../records/cifar10/c10-main-seed2)"
    line = f"- c10-main, full length: seeds {link} (2 not run); trained in float32 with"
    assert f"Part.\n\nRecords:\n\n{line}" in page
    assert "\nNot run yet: `c10-paper`, `c10-k2`. [The queue]" in page
    assert not sources.on_record([f"c10-plain{depth}" for depth in (56, 47, 38, 29)])
    page = sources.result("T", "t", "About.").text
    assert "`c10-plain47`, `c10-plain38`, `c10-plain29`. [The queue]" in page
    assert not sources.on_record(["c10-plain20"])
    page = sources.result("T", "t", "About.").text
    assert "\n7 planned runs that feed this page are not finished. [The queue]" in page


def test_records_that_a_rule_was_made_for_decide_only_alone(tmp_path):
    known = {0: "a", 2: "b"}
    keep(tmp_path, "c10-k2", 0, chain())
    sources = Sources(tmp_path)
    for run in ("c10-k2", "c10-main"):  # c10-main starts from the models of c10-k2
        found = sources.series(run)
        assert found.deciding(known) == {2: "b"}
        assert found.deciding({0: "a"}) == {0: "a"}
    for found in (sources.series("c10-k2", "quarter"), sources.series("c100-main")):
        assert found.deciding(known) == known


@pytest.mark.parametrize("seeds", [2, 3, 8, 15])
def test_the_power_of_a_claim_of_no_loss(seeds):
    """The share of simulated samples without a loss for which the claim holds."""
    samples = np.random.default_rng(0).normal(0, 0.0025, (20_000, seeds))
    found = [differences.mean_interval(sample) for sample in samples[:3]]
    half = (found[0].high - found[0].mean) / found[0].sd
    low = samples.mean(axis=1) - half * samples.std(axis=1, ddof=1)
    assert [paired.low for paired in found] == pytest.approx(low[:3])
    held = (low > -differences.MARGIN).mean()
    assert differences.power(seeds) == pytest.approx(held, abs=0.01)
    # With a loss of 0.41 percentage points, it fails.
    failed = (2 * samples.mean(axis=1) - low < 0.0041 - differences.MARGIN).mean()
    assert differences.power(seeds, 0.0041 - differences.MARGIN) == pytest.approx(
        failed, abs=0.01
    )
