"""Controls against the pruning run that they belong to, of made-up records."""

from experiments.claims import controls
from experiments.paper.rows import BY_RUN
from experiments.paper.series import Series
from tests.made.pages import cells
from tests.made.series import chain, keep, single, unpruned

LOSSES = (11, 11)  # 56 -> 50 -> 44 layers


def read(records, run):
    return Series.read(records, BY_RUN[run])


def main_of(records, run="c10-k2"):
    """Two seeds; held-out images select round 1 of the first one."""
    for seed, selected in ((0, 1), (1, 2)):
        rounds = chain(losses=LOSSES, accuracies=(0.93, 0.94, 0.92 + 0.01 * seed))
        keep(records, run, seed, rounds, selected=selected)


def section(page, title):
    """The page from a title on."""
    return page[page.index(f"# {title}") :]


def test_arms_are_compared_at_the_end_of_the_pruning_run(tmp_path):
    main_of(tmp_path)
    for seed in (0, 1, 2):
        rounds = chain(losses=LOSSES, accuracies=(0.93, 0.91, 0.90))
        keep(tmp_path, "c10-random", seed, rounds)
    main, other = read(tmp_path, "c10-k2"), read(tmp_path, "c10-random")
    found = controls.compared(main, other)
    assert {seed: r["layers"] for seed, r in found.items()} == {0: 44, 1: 44}
    # 0.92 - 0.90 and 0.93 - 0.90: mean 2.5 points, sd 0.71, half width 6.35.
    page = section(controls.make(tmp_path).text, "Controls, full length")
    assert cells(page, "c10-random")[2:] == [
        "44",
        "2/6/6",
        "77.8",
        "77.8",
        "90.00 ± 0.00 (n = 2)",
        "89.00 ± 0.00 (n = 2)",
        "+2.50 [-3.85, +8.85] (n = 2)",
        "+2.50 [-3.85, +8.85] (n = 2)",
        "320",
        "3.00",
        "1 H200",
    ]
    assert cells(page, "c10-k2")[6:9] == [
        "92.50 ± 0.71 (n = 2)",
        "91.50 ± 0.71 (n = 2)",
        "-",
    ]


def test_controls_are_compared_image_by_image(tmp_path):
    for run, rounds, correct in (
        ("c10-k2", chain(losses=LOSSES, accuracies=(0.9, 0.9, 0.9)), ("f0", "f0")),
        ("c10-restart", unpruned(0.9, 0.9, 0.9), ("7f", "ff")),
    ):
        rounds[-1]["correct"] = dict(zip(("test", "validation"), correct, strict=True))
        keep(tmp_path, run, 0, rounds)
    page = controls.make(tmp_path).text
    row = "| c10-restart | 0 | {} | {} | {} | {} |"
    assert row.format("test", 1, 4, 0.38) in page
    assert row.format("test and held-out", 1, 8, 0.039) in page


def test_restarts_are_compared_round_by_round(tmp_path):
    main_of(tmp_path)
    keep(tmp_path, "c10-restart", 1, unpruned(0.93, 0.95, 0.96))
    page = controls.make(tmp_path).text
    table = section(page, "Controls, full length")
    assert cells(table, "c10-restart")[2:9] == [
        *("56", "6/6/6", "100.0", "100.0"),
        *("96.00 (n = 1)", "95.00 (n = 1)", "-3.00 (n = 1)"),
    ]
    rounds = section(page, "Restarts of c10-k2, full length")
    assert cells(rounds, "0")[1:5] == [
        *("56", "93.00 ± 0.00 (n = 2)", "93.00 (n = 1)", "+0.00 (n = 1)"),
    ]
    assert cells(rounds, "1")[4:] == ["-1.00 (n = 1)", "-1.00 (n = 1)"]
    assert cells(rounds, "2")[1:5] == [
        *("44", "92.50 ± 0.71 (n = 2)", "96.00 (n = 1)", "-3.00 (n = 1)"),
    ]


def test_each_control_has_a_curve_of_its_own(tmp_path):
    main_of(tmp_path)
    main = read(tmp_path, "c10-k2")
    for runs in (controls.CONTROLS, controls.BEYOND, controls.SHORT_CONTROLS):
        series = [main, *(read(tmp_path, run) for run in runs)]
        curves = controls._curves(series)
        assert len({curve.label for curve in curves}) == len(series)
        assert len({curve.style["color"] for curve in curves}) == len(series)
        for curve in curves:  # drawn beside the pruning run if nothing is removed
            keeps = curve.series[0].row.run.endswith("-restart")
            assert curve.beside is (main if keeps else None)
    assert "controls.svg" not in controls.make(tmp_path).files
    keep(tmp_path, "c10-restart", 0, unpruned(0.93, 0.95, 0.96))
    keep(tmp_path, "c10-random", 0, chain(losses=LOSSES, accuracies=(0.93,) * 3))
    page = controls.make(tmp_path)
    assert "(controls.svg)" in page.text
    for label in ("the pruning run", "nothing removed, same", "random units removed"):
        assert label in page.files["controls.svg"]
    assert "from scratch" not in page.files["controls.svg"]  # no record


def test_units_that_a_control_removed_too_are_counted(tmp_path):
    main_of(tmp_path)
    for seed, losses in ((0, (12, 13)), (1, LOSSES)):
        rounds = chain(losses=losses, accuracies=(0.93, 0.91, 0.90))
        keep(tmp_path, "c10-random", seed, rounds)
    page = controls.make(tmp_path).text
    # 2 of the 4 units in both; 4 of 4 are expected to share 4 * 4 / 15.
    assert "- `c10-random`, seed 0: 2 of 4 (1.1 expected by chance)" in page
    assert "`c10-random`, seed 1: " not in page  # the same units


def test_scales_are_never_paired(tmp_path):
    main_of(tmp_path, "c10-k2-quarter")
    keep(tmp_path, "c10-random", 0, chain(losses=LOSSES, accuracies=(0.9,) * 3))
    page = controls.make(tmp_path).text
    assert "| c10-random" not in page  # it lacks the pruning run of its scale
    assert "## Controls, " not in page
    assert (
        "No control of `c10-k2-quarter` (a quarter of the epochs) is finished" in page
    )
    assert "\n19 planned runs that feed this page are not finished. [The queue]" in page
    keep(tmp_path, "c10-random-quarter", 0, chain(losses=LOSSES, accuracies=(0.9,) * 3))
    page = controls.make(tmp_path).text
    assert "No control of" not in page
    quarter = section(page, "Controls, a quarter of the epochs")
    row = cells(quarter, "c10-k2-quarter")
    assert row[2:4] == ["44", "2/6/6"]
    found = cells(page, "c10-random-quarter")
    assert (found[2], found[6]) == ("44", "90.00 (n = 1)")


def test_a_model_that_is_trained_once_is_compared_as_it_is(tmp_path):
    main_of(tmp_path)
    keep(tmp_path, "c10-scratch-b", 1, single(44, 0.95, epochs=320))
    page = section(controls.make(tmp_path).text, "Controls, full length")
    found = cells(page, "c10-scratch-b")
    assert (found[2], found[6]) == ("44", "95.00 (n = 1)")
    assert found[8:] == ["-2.00 (n = 1)", "-2.00 (n = 1)", "320", "1.00", "1 H200"]


def test_smallest_models(tmp_path):
    main_of(tmp_path)
    page = section(controls.make(tmp_path).text, "Smallest models that")
    # 16 and 14 of 18 units; changes of 1 and 0 points: half width 6.35.
    assert cells(page, "c10-k2", "full length")[2:] == [
        "2",
        "56",
        "44 (1), 50 (1)",
        "77.8 (1), 88.9 (1)",
        "77.8 (1), 88.9 (1)",
        "93.00 ± 0.00 (n = 2)",
        "93.50 ± 0.71 (n = 2)",
        "+0.50 [-5.85, +6.85] (n = 2)",
        "open",
        "260 (1), 320 (1)",
    ]
    assert "| c10-basic" not in page
    assert (
        "No control of `c10-k2` (full length) is finished"
        in controls.make(tmp_path).text
    )


def test_without_records_there_is_no_page(tmp_path):
    assert controls.make(tmp_path) is None
    keep(tmp_path, "c10-scratch-e", 0, single(44, 0.9))
    page = controls.make(tmp_path).text
    assert "- c10-scratch-e, full length: seeds [0]" in page
    assert "No control of" not in page  # there is no pruning run either
    assert {"c10-r29-restart", "c10-small-lr-quarter"} <= {*controls.RUNS}
    assert not {"c10-largest-quarter", "c10-scratch-e-quarter"} & {*controls.RUNS}
