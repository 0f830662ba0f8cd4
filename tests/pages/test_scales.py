"""A quarter of the epochs: settings, names, and records that must agree with them."""

import pytest
from absl import flags
from absl.testing import flagsaver

import resprune_tf as rp
from experiments import cifar, record
from experiments.pages import records_page
from experiments.pages.scales import check_scale, epochs, full_length_first, words
from experiments.paper.rows import BY_RUN
from experiments.paper.series import Series
from experiments.running import recipe_flags
from tests.made.runs import make_final, make_rounds, write_records
from tests.made.series import chain, keep

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.mark.parametrize(
    ("number", "scale", "expected"),
    [(200, "quarter", 50), (60, "quarter", 15), (1, "quarter", 1), (60, "paper", 60)],
)
def test_epochs(number, scale, expected):
    assert epochs(number, scale) == expected


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("cifar10/c10-k2-seed0", "paper", "full length"),
        ("c100-paper", "paper", "full length"),
        ("imagenet/in-main-seed0", "paper", "full length"),
        ("cifar10/c10-k2-quarter", "quarter", "a quarter of the epochs"),
        # Runs that the paper does not have, with epochs of their own.
        ("cifar10/mine-seed0", "paper", "own schedule"),
        ("cifar10/c10-r29-random-seed0", "paper", "own schedule"),
        ("digits/demo-seed0", "paper", "own schedule"),
    ],
)
def test_only_runs_of_the_paper_have_its_length(name, scale, expected):
    assert words(name, scale) == expected


def recipes(*arguments):
    """The recipes that a command line asks for, and the text of its flags.txt."""
    with flagsaver.flagsaver():
        flags.FLAGS(["cifar", *arguments])
        cifar.apply_scale()
        found = recipe_flags.settings(rp)
        lines = recipe_flags.run_flags.flag_lines(cifar)
        return found["recipe"], found["retrain_recipe"], lines


def test_a_quarter_of_a_row_and_its_schedule(tmp_path):
    row = BY_RUN["c10-k2-quarter"]
    first, again, text = recipes(*row.command(0))
    assert (first.epochs, again.epochs) == (50, 15)
    # A tenth from epoch 20 and from epoch 30 on, counted from 1.
    rates = [round(first.learning_rate_at(epoch), 6) for epoch in (18, 19, 28, 29)]
    assert rates == [0.1, 0.01, 0.01, 0.001]
    # flags.txt makes the same run again: the epochs are not divided twice.
    assert "--scale=quarter" in text and "--epochs=200" in text
    (tmp_path / "flags.txt").write_text(text)
    assert recipes(f"--flagfile={tmp_path / 'flags.txt'}")[:2] == (first, again)


def test_a_budget_from_a_run_is_not_divided(tmp_path):
    rounds = make_rounds(0.9, 0.92, 0.8)
    run = write_records(tmp_path / "run", rounds, make_final(rounds, 1))
    arguments = ["--scale=quarter", f"--epochs_of={run}"]
    assert recipes(*arguments)[0].epochs == 4  # 2 epochs of each of 2 rounds
    assert recipes(*arguments, "--of_round=last")[0].epochs == 6


def test_names_state_the_scale():
    command = BY_RUN["c10-random-quarter"].command(1)
    assert "--start_from=runs/c10-k2-quarter-seed1" in command
    assert "--run_dir=runs/c10-random-quarter-seed1" in command
    row = BY_RUN["c10-random-quarter"]
    assert row.record(1) == "cifar10/c10-random-quarter-seed1"
    assert "--scale" not in " ".join(BY_RUN["c10-random"].command(1))


@pytest.mark.parametrize(
    ("run", "scale"), [("c10-k2-quarter", "paper"), ("c10-k2", "quarter")]
)
def test_records_of_another_scale_than_their_name_are_refused(run, scale, tmp_path):
    folder = keep(tmp_path, run, 0, chain(), scale=scale)
    message = f"'cifar10/{run}-seed0' states --scale=.* states --scale={scale}"
    with pytest.raises(ValueError, match=message):
        Series.read(tmp_path, BY_RUN[run])
    with pytest.raises(ValueError, match=message):
        records_page.records_page(tmp_path)
    (folder / "report.html").write_text("")
    (folder / "sessions.jsonl").write_text("")
    with pytest.raises(ValueError, match="Name it after its scale"):
        record.keep(folder, tmp_path / "kept" / f"{run}-seed0")
    assert not (tmp_path / "kept").exists()


def test_full_length_is_listed_first():
    names = ["a/k2-quarter-seed0", "a/k2-seed0", "a/k2-seed1", "a/k1-seed0", "a/k3"]
    expected = ["a/k1-seed0", "a/k2-seed0", "a/k2-seed1", "a/k2-quarter-seed0", "a/k3"]
    assert sorted(names, key=full_length_first) == expected


def test_a_smoke_test_may_have_any_name():
    check_scale("cifar10/c10-k2-quarter-seed0", "smoke")
