"""Table 1 of made-up records, and of none."""

from experiments.paper import table1
from tests.made.pages import cells
from tests.made.series import chain, keep

LOSSES = (1, 1, 1, 1, 1, 2, 3, 3)  # to the paper's (1, 5, 4), which has 32 layers


def test_without_records_there_is_no_page(tmp_path):
    assert table1.make(tmp_path) is None


def test_what_is_not_run_has_no_row(tmp_path):
    keep(tmp_path, "c10-k2", 0, chain())
    keep(tmp_path, "in-main", 0, chain("imagenet", accuracies=(0.7, 0.7)))
    page = table1.make(tmp_path).text
    assert cells(page, "CIFAR-10", "paper")[2:] == [
        *("-", "-", "6/6/6", "1/5/4 (nearest; none fits)", "3/15/12", "56", "32"),
        *("-", "-"),
    ]
    assert cells(page, "ImageNet", "paper")[2:9] == [
        *("-", "-", "3/4/6/3", "2/2/5/3", "6/6/15/9", "50", "38"),
    ]
    assert "| not run" not in page and "| CIFAR-100" not in page
    missing = "`c10-paper`, `c10-main`, `c10-k2-quarter`, `c100-paper`, `c100-main`"
    assert f"Not run yet: {missing}. [The queue]" in page


def test_a_quarter_of_the_epochs_has_rows_of_its_own(tmp_path):
    for run, last in (("c10-k2", 0.93), ("c10-k2-quarter", 0.91)):
        rounds = chain(losses=(11, 11, 12, 33), accuracies=(*[0.91] * 4, last))
        keep(tmp_path, run, 0, rounds)
    page = table1.make(tmp_path).text
    title = "c10-k2-quarter: two units"
    scale = ["a quarter of the epochs", "1"]
    assert cells(page, "CIFAR-10", "c10-k2-quarter")[1:4] == [title, *scale]
    assert cells(page, "CIFAR-10", "c10-k2:")[2:4] == ["full length", "1"]
    accuracy = page[page.index("## Accuracy") :]
    row = cells(accuracy, "CIFAR-10", "c10-k2-quarter", *scale, "held-out", "test")
    assert row[6:] == [
        *("91.00 (n = 1)", "91.00 (n = 1)", "+0.00 (n = 1)"),
        "-",
    ]
    cost = page[page.index("## Cost") :]
    assert cells(cost, "CIFAR-10", "c10-k2-quarter")[2:4] == scale


def test_units_at_the_layers_of_the_paper(tmp_path):
    for seed, losses in enumerate((LOSSES, LOSSES, (1, 1, 1, 1, 2, 2, 3, 3))):
        keep(tmp_path, "c10-main", seed, chain(losses=losses, accuracies=[0.9] * 9))
    page = table1.make(tmp_path).text
    part = page[page.index("## Units at the paper's number of layers") :]
    row = cells(part, "CIFAR-10", "c10-main")
    # By chance: 1 * 5 * 10 of the 6,435 choices of 8 of 15 units.
    theirs = "1/5/4 (nearest; none fits)"
    assert row[3:] == ["3", "32", "1/5/4 (2), 2/4/4 (1)", theirs, "0.8 %"]


def test_the_smallest_model_as_the_paper_selects_it(tmp_path):
    for seed, last in enumerate((0.9, 0.89)):
        rounds = chain(losses=(11, 11, 12, 33), accuracies=(0.9, 0.9, 0.9, 0.88, last))
        keep(tmp_path, "c10-k2", seed, rounds)
    page = table1.make(tmp_path).text
    row = cells(page[page.index("## Selected on the test set") :], "CIFAR-10", "c10-k2")
    # A smaller model counts even if a larger one was worse.
    missed = "32 layers: 100 of 10,000 (1)"  # 38: by 200
    assert row[3:7] == ["2", "32 (1), 44 (1)", "+0 (1), +12 (1)", f"- (1), {missed}"]


def test_three_seeds(tmp_path):
    last = (0.927, 0.928, 0.929)
    for seed, accuracy in enumerate(last):
        accuracies = (0.928, *[0.93] * 7, accuracy)
        rounds = chain(losses=LOSSES, accuracies=accuracies)
        keep(tmp_path, "c10-main", seed, rounds, selected=-2 if seed == 2 else -1)
    page = table1.make(tmp_path).text
    assert cells(page, "CIFAR-10", "c10-main") == [
        "CIFAR-10",
        "c10-main: short retraining",
        "full length",
        "3",
        "6/6/6",
        "1/5/4 (2), 1/5/5 (1)",
        "3/15/12 (2), 3/15/15 (1)",
        "56",
        "32 (2), 35 (1)",
        "+0 (2), +3 (1)",
        # Held-out images: 0.1 points more than initially are 5 images.
        "- (2), 32 layers: -5 of 5,000 (1)",
    ]
    # Changes -0.1, 0 and +0.2 points: mean 0.0333, sd 0.1528, half width 0.3795.
    accuracy = page[page.index("## Accuracy") :]
    theirs = ["-", "-", "test set", "test set", "92.88", "not lower", "-", "-"]
    assert cells(accuracy, "CIFAR-10", "paper")[2:] == theirs
    start = ("CIFAR-10", "c10-main", "full length", "3", "held-out")
    assert cells(accuracy, *start, "test")[6:] == [
        "92.80 ± 0.00 (n = 3)",
        "92.83 ± 0.15 (n = 3)",
        "+0.03 [-0.35, +0.41] (n = 3)",
        "open (too wide an interval of 3 seeds)",
    ]
    held = cells(accuracy, *start, "held-out")
    assert held[6] == "91.80 ± 0.00 (n = 3)" and held[-1] == "-"
    assert cells(page[page.index("## Cost") :], "CIFAR-10", "c10-main")[2:] == [
        "full length",
        "3",
        "60",
        "680",
        "9.00",
        "27.00",
        "1 H200",
    ]


def test_verdicts_of_clear_cases(tmp_path):
    for seed in (0, 1, 2):
        keep(tmp_path, "c10-paper", seed, chain(accuracies=(0.9, 0.9)))
        keep(tmp_path, "c100-paper", seed, chain(accuracies=(0.9, 0.897)))
    keep(tmp_path, "in-main", 0, chain("imagenet", accuracies=(0.7, 0.7)))
    page = table1.make(tmp_path).text
    accuracy = page[page.index("## Accuracy") :]
    verdicts = [
        cells(accuracy, *row)[-1]
        for row in (("CIFAR-10", "c10-p"), ("CIFAR-100", "c100-p"), ("ImageNet", "in"))
    ]
    assert cells(accuracy, "ImageNet", "paper")[6] == "only plotted"
    assert verdicts == [
        "holds (the interval lies within the bounds)",
        "does not hold (the interval lies outside the bounds)",
        "open (n = 1) (one seed has no spread)",
    ]


def test_selection_on_the_test_set_is_labelled(tmp_path):
    keep(tmp_path, "c10-paper", 0, chain(), select_on="test")
    page = table1.make(tmp_path).text
    accuracy = page[page.index("## Accuracy") :]
    assert cells(accuracy, "CIFAR-10", "c10-paper")[4:6] == ["test set", "test set"]
    assert "held-out images |" not in accuracy


def test_smoke_records_are_told(tmp_path):
    keep(tmp_path, "c100-main", 0, chain(), scale="smoke")
    assert "**These numbers mean nothing.**" in table1.make(tmp_path).text


def test_models_are_compared_image_by_image(tmp_path):
    """8 images. McNemar by hand: 1 against 4 of 5 gives 2 (1 + 5) / 32.

    Another 8 held-out images of the last model: together 3 against 4 of 7.
    """
    rounds = chain(losses=(11, 11, 12, 33), accuracies=(0.91, 0.92, 0.91, 0.93, 0.9))
    for record, correct in zip(rounds, ("f0", "ff", "ff", "f0", "7f"), strict=True):
        record["correct"] = {"test": correct}
    rounds[0]["correct"]["validation"], rounds[-1]["correct"]["validation"] = "ff", "fc"
    rounds[-2]["correct"]["validation"] = "00"  # may have selected it: not counted
    keep(tmp_path, "c10-k2", 0, rounds, selected=-2)
    page = table1.make(tmp_path).text
    part = page[page.index("## Image by image") : page.index("## Cost")]
    layers = [str(record["layers"]) for record in rounds[-2:]]
    title = ["CIFAR-10", "c10-k2: two units per round", "full length", "0"]
    for row in (
        ["selected", "test", "0", "0", "1"],
        ["last", "test", "1", "4", "0.38"],
    ):
        assert f"| {' | '.join([*title, layers.pop(0), *row])} |" in part
    assert "| 32 | last | test and held-out | 3 | 4 | 1 |" in part
    assert part.count("test and held-out |") == 1
