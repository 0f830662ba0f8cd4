"""Figure 7 from records alone: a drawing a machine, and its numbers as a table."""

import xml.etree.ElementTree

import pytest
from matplotlib.figure import Figure

from experiments.pages.results import OUTPUT, RECORDS
from experiments.paper import figure7
from experiments.paper.cost_records import PAPER, read_machines
from tests.made.costs import made_pair, write_machine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of one machine."""
    records = tmp_path_factory.mktemp("records")
    write_machine(records)
    return figure7.make(records)


def test_no_drawing_outlives_its_record():
    files = figure7.make(RECORDS).files
    assert {path.name for path in OUTPUT.glob("figure7*")} == set(files)


def test_a_machine_has_a_drawing_and_a_table(page):
    assert list(page.files) == ["figure7.md", "figure7-some-cpu.svg"]
    assert "](figure7-some-cpu.svg)" in page.text
    assert "medians over 100 calls" in page.text
    assert (
        "| training | CIFAR-10 | 32 | original | 56 | 10.0 | 9.0-12.0 | 11.0 |\n"
        "| training | CIFAR-10 | 32 | pruned | 32 | 6.0 | 5.0-8.0 | 6.6 |\n"
    ) in page.text
    assert "| testing | ImageNet | 1 | pruned | 38 | 6.0 | 5.0-8.0 |" in page.text


def test_a_drawing_says_what_it_shows(page, tmp_path):
    drawing = page.drawings["figure7-some-cpu.svg"]
    root = xml.etree.ElementTree.fromstring(drawing)
    text = {"".join(element.itertext()).strip() for element in root.iter()}
    assert {
        "original",
        "pruned",
        "(a) training (ms per step)",
        "(b) testing (ms per call)",
        "CIFAR-10, batch 32",
        "ImageNet, batch 4",
        "50 layers",
        "38 layers",
    } <= text
    write_machine(tmp_path)
    assert drawing == figure7.make(tmp_path).drawings["figure7-some-cpu.svg"]


def test_bars_and_whiskers_are_medians_and_percentiles(tmp_path):
    write_machine(tmp_path)
    figure = Figure()
    figure7.paint_times(figure, read_machines(tmp_path)[0])
    assert len(figure.axes) == 6
    for axes in figure.axes:
        assert [bar.get_height() for bar in axes.patches] == [10.0, 6.0]
        (first, _) = (c for c in axes.containers if hasattr(c, "has_yerr"))
        (whisker,) = first.lines[2]
        assert whisker.get_segments()[0][:, 1].tolist() == [9.0, 12.0]
        assert axes.get_ylim()[0] == 0


def test_what_was_not_measured_has_no_panel(tmp_path):
    write_machine(tmp_path, made_pair(PAPER[1]))
    page = figure7.make(tmp_path)
    drawing = page.drawings["figure7-some-cpu.svg"]
    assert ">CIFAR-100, batch 32<" in drawing and "ImageNet" not in drawing
    assert (
        "| testing | CIFAR-10 | 1 | original | 56 | not run: command 1 | - | - |"
        in page.text
    )
    assert page.text.endswith("1. `python -m experiments.costs`\n")


def test_no_record_no_page(tmp_path):
    assert figure7.make(tmp_path) is None
