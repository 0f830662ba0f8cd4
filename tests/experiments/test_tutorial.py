"""The tutorial runs as it is written, in small."""

import pathlib
import re

import pytest

from experiments import tutorial

pytestmark = pytest.mark.slow


def test_the_tutorial_runs(tmp_path):
    text = tutorial.PAGE.read_text(encoding="utf-8")
    page = text.replace("def backbone(units=4)", "def backbone(units=2)")
    assert page != text  # fewer blocks, of the same kind
    renewed = tutorial.run(page, tmp_path, small=True)
    # The code is as it was, and prints something at the same places.
    assert outline(renewed) == outline(page)
    assert "test accuracy of the int8 file: " in renewed
    assert {path.name for path in tmp_path.glob("*.svg")} == pictures(page)
    assert (tmp_path / "export" / "model_int8.tflite").exists()


def test_its_pictures_and_links_exist():
    page = tutorial.PAGE.read_text(encoding="utf-8")
    assert pictures(page)
    for link in re.findall(r"\]\(([^):#]+)\)", page):
        assert (tutorial.PAGE.parent / link).exists(), link


def outline(page):
    return re.sub(r"```text\n.*?```", "```text```", page, flags=re.DOTALL)


def pictures(page):
    return {pathlib.Path(link).name for link in re.findall(r"\]\((.*\.svg)\)", page)}
