"""Figures of made-up records, and of none: numbers on the page, text in the drawing."""

import json
import re

import pytest

from experiments.pages.differences import FAILS, HOLDS, OPEN
from experiments.paper import figure3, figure4, figure5, figure6
from experiments.paper.rows import BY_RUN
from experiments.paper.sources import Sources
from tests.made.pages import cells, words
from tests.made.series import chain, keep, single, unpruned

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("figure", [figure3, figure4, figure5, figure6])
def test_without_records_there_is_no_page_and_no_drawing(figure, tmp_path):
    assert figure.make(tmp_path) is None
    assert figure.RUNS and set(figure.RUNS) <= set(BY_RUN)


@pytest.mark.parametrize("figure", [figure3, figure4, figure6])
def test_one_run_at_a_quarter_of_the_epochs_is_shown(figure, tmp_path):
    """With its scale and its n, and without empty panels."""
    rounds = chain(losses=(11, 11, 12, 33), accuracies=(0.9, 0.9, 0.91, 0.9, 0.9))
    keep(tmp_path, "c10-k2-quarter", 0, rounds)
    result = figure.make(tmp_path)
    ((name, drawing),) = result.drawings.items()
    texts = words(drawing)
    assert f"]({name})\n\n*Figure {name[6]}. " in result.text
    assert "a quarter of the epochs" in " ".join(texts)
    assert sum("(n = 1)" in text for text in texts) == 1  # the only panel
    assert "- c10-k2-quarter, a quarter of the epochs: seeds [0]" in result.text
    if figure is figure3:
        assert "\n35 planned runs that feed this page are not finished." in result.text
    else:
        assert "Not run yet: " in result.text and "`c10-k2`" in result.text
    assert "not run" not in texts
    assert figure.make(tmp_path) == result  # to the byte
    if figure is figure3:
        assert cells(result.text, "32")[1] == "90.00 (n = 1)"
    if figure is figure4:  # the same run is in Figure 3
        assert (
            "## (b) units removed per round\n\nThe numbers are those of" in result.text
        )
        assert "| layers |" not in result.text
    if figure is not figure6:
        assert "initial, a quarter of the epochs" in texts
        assert "initial, full length" not in texts


def test_the_axis_of_figure3_ends_below_all_models(tmp_path):
    keep(tmp_path, "c10-k2", 0, chain(losses=(11,), accuracies=(0.92, 0.91)))
    curves = figure3.curves_of(Sources(tmp_path), "cifar10")
    assert figure3._ticks("cifar10", curves) == [56, 47, 38, 29]  # the paper's 32 fit
    keep(tmp_path, "c10-plain20", 0, single(20, 0.91))
    curves = figure3.curves_of(Sources(tmp_path), "cifar10")
    assert figure3._ticks("cifar10", curves) == [56, 47, 38, 29, 20]


def test_figure3(tmp_path):
    for seed, last in enumerate((0.92, 0.94)):
        keep(tmp_path, "c10-main", seed, chain(accuracies=(0.93, 0.93, last)))
    rounds = chain(losses=(11,), accuracies=(0.92, 0.91))
    keep(tmp_path, "c10-k2-quarter", 0, rounds)
    keep(tmp_path, "c10-plain47", 0, single(47, 0.91))
    keep(tmp_path, "c10-distilled11", 0, single(11, 0.9))
    result = figure3.make(tmp_path)
    assert cells(result.text, "layers", "proposed") == [
        "layers",
        "proposed, short retraining",
        "proposed, two units, a quarter of the epochs",
        "plain",
        "distilled",
    ]
    page = result.text
    deepest = ["56", "93.00 ± 0.00 (n = 2)", "92.00 (n = 1)", "-", "-"]
    assert cells(page, "56") == deepest
    assert cells(page, "50") == [
        *("50", "93.00 ± 1.41 (n = 2)", "91.00 (n = 1)", "-", "-"),
    ]
    assert cells(page, "47")[3:] == ["91.00 (n = 1)", "-"]
    assert cells(page, "11")[3:] == ["-", "90.00 (n = 1)"]
    # What is missing is counted: the paper's setting, 5 plain models, ...
    assert "\n32 planned runs that feed this page are not finished. [The queue]" in page
    held_out = page[page.index("## CIFAR-10, held-out images") :]
    assert cells(held_out, "50")[1] == "92.00 ± 1.41 (n = 2)"
    ours = "full length 93.00 ± 0.00 (n = 2); a quarter of the epochs 92.00 (n = 1)"
    assert f"ours: {ours}; paper: 92.88 %." in page
    seeds = (
        "proposed, short retraining (n = 2), proposed, two units, a quarter of the "
        "epochs (n = 1), plain (n = 1), distilled (n = 1)."
    )
    assert f"n by curve: CIFAR-10: {seeds}" in page
    texts = words(result.drawings["figure3.svg"])
    for text in (
        *("CIFAR-10 (n = 1-2)", "paper: 32 layers", "plain", "initial, paper"),
        *("initial, full length", "initial, a quarter of the epochs"),
        *("test accuracy (%)", "number of layers"),
    ):
        assert text in texts
    assert "proposed, as in the paper" not in texts
    assert "ImageNet" not in " ".join(texts) and "## ImageNet" not in page


def test_a_control_stands_beside_its_pruning_run(tmp_path):
    """It keeps all 56 layers, and has a point at the layers of each round."""
    for seed, last in enumerate((0.91, 0.93)):
        keep(tmp_path, "c10-k2", seed, chain(accuracies=(0.92, 0.93, last)))
        rounds = unpruned(0.92, 0.94, last + 0.01)
        keep(tmp_path, "c10-restart", seed, rounds)
    page = figure3.make(tmp_path)
    control = "nothing removed, same restarts"
    assert cells(page.text, "layers", "proposed")[-1] == control
    for layers, accuracy in ((56, "92.00 ± 0.00"), (53, "94.00 ± 0.00")):
        assert cells(page.text, str(layers))[-1] == f"{accuracy} (n = 2)"
    assert cells(page.text, "50")[-1] == "93.00 ± 1.41 (n = 2)"
    assert control in words(page.drawings["figure3.svg"])


def test_figure4(tmp_path):
    keep(tmp_path, "c10-main", 0, chain(accuracies=(0.93, 0.92)))
    rounds = chain(losses=("1111",), accuracies=(0.93, 0.91))
    keep(tmp_path, "c10-k4", 0, rounds)
    result = figure4.make(tmp_path)
    # The only run of (a) is in Figure 3, too.
    assert "## (a) epochs of retraining\n\nThe numbers are those of" in result.text
    by_units = result.text[result.text.index("## (b)") :]
    assert cells(by_units, "layers") == ["layers", "k = 1", "k = 4"]
    assert cells(by_units, "44") == ["44", "-", "91.00 (n = 1)"]
    missing = "`c10-k2`, `c10-k2-quarter`"
    assert f"Not run yet: `c10-retrain30`, `c10-retrain120`, {missing}." in result.text
    assert "92.84 % at 44 layers" in result.text
    texts = words(result.drawings["figure4.svg"])
    assert "paper, k = 4" in texts and "60 epochs" in texts and "k = 2" not in texts


def test_figure6(tmp_path):
    keep(tmp_path, "c10-k2", 0, chain())
    result = figure6.make(tmp_path)
    # ω are ±(0.2 + 0.04 i) for the 15 units i of 18 that may go.
    row = cells(result.text, "full length")[1:]
    assert row[:2] == ["1", "15"] and row[-2] == "0.0 %"
    assert row[4] == "0.560"
    assert row[-1] == "open (n = 1) (9 of 15 values near ±0.7, 4 near 0)"
    assert "| a quarter of the epochs |" not in result.text
    assert "Not run yet: `c10-k2-quarter`." in result.text
    texts = words(result.drawings["figure6.svg"])
    assert "modes in the paper" in texts and "full length (n = 1)" in texts
    assert not [t for t in texts if re.search("nan|inf", t)]


def test_what_is_left_of_the_initial_values(tmp_path):
    for seed in (0, 1):
        keep(tmp_path, "c10-k2", seed, chain())
    assert "Initial values" not in figure6.make(tmp_path).text
    after = chain()[0]["importances"]
    same = {unit: value / 2 for unit, value in after.items()}
    reverse = {unit: -1 / value for unit, value in after.items()}
    runs = {"cifar10/c10-k2-seed0": same, "cifar10/c10-k2-seed1": reverse}
    (tmp_path / "initial_values").mkdir()
    path = tmp_path / "initial_values" / "jax.json"
    path.write_text(json.dumps({"runs": runs}))
    page = figure6.make(tmp_path).text
    assert cells(page, "cifar10/c10-k2")[1:-1] == [
        *("full length", "2", "+0.00 (-1.00 to +1.00)", "15 of 30"),
    ]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([], OPEN),
        ([0.7, -0.7, 0.6, -0.6, 0.8], HOLDS),  # p = 1/32
        ([0.7, -0.7, 0.6, -0.6], OPEN),  # p = 1/16
        ([0.1, -0.1, 0.0, 0.3, 0.2], FAILS),
        ([0.95, 0.45], OPEN),
        ([1.0, -2.0, 3.0, 1.5, -1.5], OPEN),  # none near 0.7: p = 0.6 ** 5
        ([1.0, -2.0, 3.0, 1.5, -1.5, 0.95], FAILS),  # p = 0.6 ** 6
        ([0.7, -0.7, 0.6, -0.6, 0.8, *[2.0] * 20], FAILS),  # most are elsewhere
    ],
)
def test_two_modes(values, state):
    assert figure6.two_modes(values).state == state
