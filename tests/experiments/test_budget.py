"""What a finished run leaves for others: lost units, epochs, compute, its first net."""

import json
import types

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import cifar  # noqa: F401, defines all flags
from experiments.running import budget, recipe_flags
from tests.made.runs import make_final, make_rounds, write_records


@pytest.fixture
def run(tmp_path):
    """Chose the second of three rounds: 40 M, 32 M, 24 M MACs, 2 epochs each."""
    rounds = make_rounds(0.9, 0.92, 0.8)
    return write_records(tmp_path / "run", rounds, make_final(rounds, 1))


def test_budget_ends_with_the_chosen_net(run):
    assert budget.removed_units(run) == ["stage1_unit2"]
    assert budget.epochs(run) == 4
    assert budget.epochs_of_compute(run, 32_000_000) == 5  # (2 * 40 + 2 * 32) / 32


def test_an_unfinished_run_has_no_budget(tmp_path):
    run = write_records(tmp_path / "run", make_rounds(0.9))
    for ask in (budget.removed_units, budget.epochs):
        with pytest.raises(ValueError, match="has no finished run"):
            ask(run)
    with pytest.raises(ValueError, match="contains no records of a run"):
        budget.epochs(tmp_path / "nothing")


def test_the_initial_net_must_be_there(run):
    with pytest.raises(ValueError, match="no trained initial model"):
        budget.initial_model(run)
    (run / "models").mkdir()
    (run / "models" / "round-00.keras").touch()
    assert budget.initial_model(str(run)) == run / "models" / "round-00.keras"


@pytest.mark.parametrize("flag", ["start_from", "twin_of", "teacher_from"])
def test_a_run_that_names_another_keeps_its_precision(flag, run):
    settings = json.loads((run / "run.json").read_text())
    recipe = {"precision": "bfloat16"}
    (run / "run.json").write_text(json.dumps(settings | {"recipe": recipe}))
    package = types.SimpleNamespace(native_precision=lambda: "float32")
    with flagsaver.flagsaver():
        flags.FLAGS(["cifar", "--precision=auto"])
        assert recipe_flags._precision(package) == "float32"
        flags.FLAGS(["cifar", "--precision=auto", f"--{flag}={run}"])
        assert recipe_flags._precision(package) == "bfloat16"
