"""Controls against the main experiment, of made-up records."""

from experiments import controls
from experiments.rows import BY_RUN
from experiments.series import Series
from tests.made_series import chain, keep, single
from tests.pages import cells


def read(records, run):
    return Series.read(records, BY_RUN[run])


def main_of(records):
    """Seed 0 chose 53 layers, seed 1 chose 50."""
    rounds = chain(accuracies=(0.93, 0.94, 0.92))
    keep(records, "c10-main", 0, rounds, selected=1)
    keep(records, "c10-main", 1, chain(accuracies=(0.93, 0.92, 0.93)))


def test_nets_are_compared_at_the_chosen_depth_of_the_same_seed(tmp_path):
    main_of(tmp_path)
    keep(tmp_path, "c10-random", 0, chain(accuracies=(0.93, 0.91, 0.90)))
    keep(tmp_path, "c10-random", 1, chain(accuracies=(0.93, 0.91, 0.92)))
    keep(tmp_path, "c10-random", 2, chain(accuracies=(0.93, 0.91, 0.92)))
    main, other = read(tmp_path, "c10-main"), read(tmp_path, "c10-random")
    found = controls.compared(main, other)
    assert {seed: r["layers"] for seed, r in found.items()} == {0: 53, 1: 50}
    # 0.91 - 0.94 and 0.92 - 0.93: mean -2 points, sd 1.41, half width 12.71.
    page = controls.make(tmp_path).text
    assert cells(page, "c10-random")[2:] == [
        "50 (1), 53 (1)",
        "91.50 ± 0.71 (n = 2)",
        "-2.00 [-14.71, +10.71] (n = 2)",
        "260 (1), 320 (1)",
        "2.50",
        "1 H200",
    ]
    assert cells(page, "c10-main")[3:5] == ["93.50 ± 0.71 (n = 2)", "-"]


def test_smallest_nets_that_held(tmp_path):
    main_of(tmp_path)
    page = controls.make(tmp_path).text
    held = page[page.index("## Smallest nets that held") :]
    # 17 and 16 of 18 units; changes of 1 and 0 points: half width 6.35.
    assert cells(held, "c10-main")[1:] == [
        "56",
        "50 (1), 53 (1)",
        "88.9 (1), 94.4 (1)",
        "88.9 (1), 94.4 (1)",
        "93.00 ± 0.00 (n = 2)",
        "93.50 ± 0.71 (n = 2)",
        "+0.50 [-5.85, +6.85] (n = 2)",
        "open",
        "260 (1), 320 (1)",
    ]
    assert cells(held, "c10-basic")[1].startswith("not run")


def test_a_net_that_is_trained_once_is_compared_as_it_is(tmp_path):
    main_of(tmp_path)
    keep(tmp_path, "c10-full", 1, single(56, 0.95, epochs=320))
    page = controls.make(tmp_path).text
    expected = ["56", "95.00 (n = 1)", "+2.00 (n = 1)", "320", "1.00", "1 H200"]
    assert cells(page, "c10-full")[2:] == expected


def test_without_records(tmp_path):
    page = controls.make(tmp_path).text
    assert cells(page, "c10-scratch-e")[2:] == ["not run (2)", *["-"] * 5]
    assert cells(page, "c10-guided")[2] == "not run (8)"


def test_without_the_main_one_nothing_is_compared(tmp_path):
    keep(tmp_path, "c10-random", 0, chain())
    page = controls.make(tmp_path).text
    assert cells(page, "c10-random")[2:] == ["not run (1)", *["-"] * 5]
