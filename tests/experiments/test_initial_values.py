"""The importances of a recorded run before any training, from its seed."""

import json
import shutil

import pytest

from experiments import initial_values
from experiments.pages.results import RECORDS

pytestmark = pytest.mark.slow

NAME = "digits/demo-seed0"


def test_they_are_those_on_record():
    path = RECORDS / "initial_values" / "tensorflow.json"
    recorded = json.loads(path.read_text())["runs"][NAME]
    found = initial_values.initial_values(RECORDS / NAME)
    assert found == pytest.approx(recorded, abs=1e-6)


def test_a_model_that_is_not_that_of_the_run_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("flags.txt", "run.json"):
        shutil.copy(RECORDS / NAME / name, folder)
    text = (folder / "flags.txt").read_text()
    (folder / "flags.txt").write_text(text.replace("--seed=0", "--seed=1"))
    with pytest.raises(ValueError, match="not the one that the run began with"):
        initial_values.initial_values(folder)
    with pytest.raises(SystemExit, match="error: .*nowhere"):
        initial_values.main(["digits/nowhere"])
