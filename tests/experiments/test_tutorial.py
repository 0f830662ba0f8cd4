"""The tutorial runs as it is written, in small; its notebook has the same cells."""

import json
import pathlib
import re
import types

import pytest

from experiments import tutorial


@pytest.fixture
def page():
    return tutorial.PAGE.read_text(encoding="utf-8")


def cells_of_notebook(text):
    """The cells of a notebook, without their outputs."""
    return [
        tutorial.Cell("".join(cell["source"]) + "\n", cell["cell_type"] == "code")
        for cell in json.loads(text)["cells"]
    ]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(page, tmp_path, in_this_process):
    folder, no_data = tmp_path / "run", tmp_path / "data"
    folder.mkdir(), no_data.mkdir()
    text = tutorial.NOTEBOOK.read_text(encoding="utf-8")
    small = text
    for much, little in (("units=3):", "units=1):"), ("(8, 16, 32)", "(8, 16)")):
        assert much in small  # fewer blocks, of the same kind
        small = small.replace(much, little)
    cells, names = tutorial.run(
        cells_of_notebook(small), folder, small=True, data_dir=no_data
    )
    assert names["data"].name == "digits"  # without CIFAR-10
    # They print something at the same places as in the page.
    printed = [bool(cell.printed) for cell in tutorial.cells_of_page(page)]
    assert [bool(cell.printed) for cell in cells] == printed
    assert any("accuracy of the int8 file: " in cell.printed for cell in cells)
    assert {path.name for path in folder.glob("*.svg")} == pictures(page)
    assert (folder / "export" / "model_int8.tflite").exists()


def test_the_notebook_is_that_of_the_page(page):
    cells = tutorial.cells_of_page(page)
    text = tutorial.NOTEBOOK.read_text(encoding="utf-8")
    assert text == tutorial.notebook_of(cells), (
        "run `python -m experiments.tutorial --notebook`"
    )
    assert tutorial.page_of(cells) == page
    code = [cell.source for cell in cells if cell.is_code]
    assert code == [c.source for c in cells_of_notebook(text) if c.is_code]
    assert sum(cell.printed != "" for cell in cells) > 5


def test_the_form_of_a_notebook():
    text = (
        "A text.\n\n```python\nprint(1)\nprint(2)\n```\n\n```text\n1\n2\n```\n\nEnd.\n"
    )
    notebook = json.loads(tutorial.notebook_of(tutorial.cells_of_page(text)))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["cells"] == [
        {
            "cell_type": "markdown",
            "id": "markdown-0",
            "metadata": {},
            "source": ["A text."],
        },
        {
            "cell_type": "code",
            "id": "code-1",
            "metadata": {},
            "execution_count": None,
            "outputs": [
                {"name": "stdout", "output_type": "stream", "text": ["1\n", "2\n"]}
            ],
            "source": ["print(1)\n", "print(2)"],
        },
        {
            "cell_type": "markdown",
            "id": "markdown-2",
            "metadata": {},
            "source": ["End."],
        },
    ]


@pytest.mark.parametrize("data, written", [("cifar10", True), ("digits", False)])
def test_only_outputs_of_real_images_are_published(
    data, written, page, tmp_path, monkeypatch, capsys
):
    copy = tmp_path / "tutorial.md"
    copy.write_text(page, encoding="utf-8")
    monkeypatch.setattr(tutorial, "PAGE", copy)
    monkeypatch.setattr(tutorial, "NOTEBOOK", copy.with_suffix(".ipynb"))

    def run(cells, folder, small, data_dir):
        assert not small and data_dir == str(tmp_path)
        pathlib.Path(folder, "units.svg").write_text("<svg/>")
        new = [tutorial.Cell("print(3)\n", True, "3\n")]
        return new, {"data": types.SimpleNamespace(name=data)}

    monkeypatch.setattr(tutorial, "run", run)
    tutorial.main([f"--data_dir={tmp_path}"])
    assert ("nothing was written" in capsys.readouterr().out) != written
    assert (copy.read_text(encoding="utf-8") != page) == written
    assert copy.with_suffix(".ipynb").exists() == written
    assert (tmp_path / "tutorial" / "units.svg").exists() == written


def test_its_pictures_and_links_exist(page):
    assert pictures(page)
    for link in re.findall(r"\]\(([^):#]+)\)", page):
        assert (tutorial.PAGE.parent / link).exists(), link
    shown = {path.name for path in tutorial.PAGE.with_suffix("").iterdir()}
    assert shown == pictures(page)


def pictures(page):
    return {pathlib.Path(link).name for link in re.findall(r"\]\((.*\.svg)\)", page)}
