"""Figures of made-up records, and of none: numbers on the page, text in the drawing."""

import re

import pytest

from experiments.pages.differences import FAILS, HOLDS, OPEN
from experiments.paper import figure3, figure4, figure6
from tests.made.pages import cells, words
from tests.made.series import chain, keep, single

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("figure", [figure3, figure4, figure6])
def test_without_records(figure, tmp_path):
    result = figure.make(tmp_path)
    (name,) = result.drawings
    assert f"({name})" in result.text and "not run (1)" in result.text
    assert "not run" in words(result.drawings[name])
    assert "No records yet." in result.text


@pytest.mark.parametrize("figure", [figure3, figure4, figure6])
def test_the_same_records_give_the_same_bytes(figure, tmp_path):
    keep(tmp_path, "c10-k2", 0, chain())
    assert figure.make(tmp_path) == figure.make(tmp_path)


def test_figure3(tmp_path):
    for seed, last in enumerate((0.92, 0.94)):
        keep(tmp_path, "c10-main", seed, chain(accuracies=(0.93, 0.93, last)))
    rounds = chain(losses=(11,), accuracies=(0.92, 0.91))
    keep(tmp_path, "c10-k2-quarter", 0, rounds)
    keep(tmp_path, "c10-plain47", 0, single(47, 0.91))
    keep(tmp_path, "c10-distilled11", 0, single(11, 0.9))
    result = figure3.make(tmp_path)
    assert cells(result.text, "layers") == [
        "layers",
        "proposed, as in the paper",
        "proposed, short retraining",
        "proposed, two units a round",
        "proposed, two units, 1/4 of the epochs",
        "plain",
        "distilled",
    ]
    page = result.text
    deepest = ["56", "-", "93.00 ± 0.00 (n = 2)", "-", "92.00 (n = 1)", "-", "-"]
    assert cells(page, "56") == deepest
    assert cells(page, "50") == [
        *("50", "-", "93.00 ± 1.41 (n = 2)"),
        *("-", "91.00 (n = 1)", "-", "-"),
    ]
    assert cells(page, "47")[5:] == ["91.00 (n = 1)", "-"]
    assert cells(page, "11")[5:] == ["-", "90.00 (n = 1)"]
    # What is missing is listed curve by curve: the paper's chain, 5 plain nets, ...
    gaps = cells(page, "not run")
    assert gaps[1:5] == ["not run (1)", "-", "not run (2)", "-"]
    assert [len(gap.split(", ")) for gap in gaps[5:]] == [5, 4]
    held_out = page[page.index("## CIFAR-10, held-out images") :]
    assert cells(held_out, "50")[2] == "92.00 ± 1.41 (n = 2)"
    assert "ours: 93.00 ± 0.00 (n = 2); paper: 92.88." in page
    texts = words(result.drawings["figure3.svg"])
    for text in ("CIFAR-10", "paper: 32 layers", "plain", "initial accuracy, paper"):
        assert text in texts
    assert "proposed, as in the paper" not in texts
    assert texts.count("not run") == 2


def test_figure4(tmp_path):
    keep(tmp_path, "c10-main", 0, chain(accuracies=(0.93, 0.92)))
    rounds = chain(losses=("1111",), accuracies=(0.93, 0.91))
    keep(tmp_path, "c10-k4", 0, rounds)
    result = figure4.make(tmp_path)
    assert cells(result.text, "56") == ["56", "-", "93.00 (n = 1)", "-"]
    by_units = result.text[result.text.index("## (b)") :]
    assert cells(by_units, "44") == ["44", "-", "-", "-", "91.00 (n = 1)"]
    assert cells(by_units, "not run") == [
        *("not run", "-", "not run (3)", "not run (4)", "-"),
    ]
    assert "92.84 % at 44 layers" in result.text
    texts = words(result.drawings["figure4.svg"])
    assert "paper, k = 4" in texts and "60 epochs" in texts and "k = 2" not in texts


def test_figure6(tmp_path):
    keep(tmp_path, "c10-k2", 0, chain())
    result = figure6.make(tmp_path)
    # ω are ±(0.2 + 0.04 i) for the 15 units i of 18 that may go.
    row = cells(result.text, "full length")[1:]
    assert row[:2] == ["1", "15"] and row[-2] == "0.0 %"
    assert row[4] == "0.560" and row[-1] == "open (n = 1) (9 values against 4)"
    assert cells(result.text, "a quarter of the epochs")[1] == "not run (1)"
    texts = words(result.drawings["figure6.svg"])
    assert "the paper's modes" in texts
    assert not [t for t in texts if re.search("nan|inf", t)]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([], OPEN),
        ([0.7, -0.7, 0.6, -0.6, 0.8], HOLDS),  # p = 1/32
        ([0.7, -0.7, 0.6, -0.6], OPEN),  # p = 1/16
        ([0.1, -0.1, 0.0, 0.3, 0.2], FAILS),
        ([0.95, 0.45], OPEN),
    ],
)
def test_two_modes(values, state):
    assert figure6.two_modes(values).state == state
