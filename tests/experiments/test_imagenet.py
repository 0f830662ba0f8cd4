"""The imagenet command: a run through tfds's builder, killed and continued."""

import os
import signal
import time

import pytest
from absl.testing import flagsaver

from experiments import imagenet
from experiments.paper import rows
from resprune_tf.system.whole_files import read_json, read_lines
from tests.made.imagenet import write_archives
from tests.made.processes import Forked

SMALL = {
    "depth": 18,
    "train_examples": 8,
    "validation_examples": 4,
    "test_examples": 4,
    "epochs": 1,
    "retrain_epochs": 1,
    "batch_size": 2,
    "parts": 4,
    "max_rounds": 1,
    "units_per_round": 2,
    "export": "",
}
# The last two stages have most of the weights, and a unit less each.
WITHOUT = ["stage3_unit2", "stage4_unit2"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("command_line")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    write_archives(folder / "manual")
    return folder


def command(**values):
    """Runs the command in this process."""
    with flagsaver.flagsaver(**values):
        imagenet.main(["imagenet"])


def test_a_run_from_the_archives_killed_and_continued_inside_an_epoch(folder, capsys):
    run_dir = folder / "run"
    where = {
        "manual_dir": str(folder / "manual"),
        "data_dir": str(folder / "tfds"),
        "run_dir": str(run_dir),
    }
    arguments = [f"--{name}={value}" for name, value in {**SMALL, **where}.items()]
    arguments.append(f"--without={','.join(WITHOUT)}")
    killed = Forked("experiments.imagenet", *arguments, log=folder / "log")
    deadline = time.monotonic() + 200
    while not (run_dir / "state.npz").exists() and killed.poll() is None:
        assert time.monotonic() < deadline, killed.output()
        time.sleep(0.05)
    killed.kill()
    out = killed.wait()
    assert killed.returncode == -signal.SIGKILL, out
    assert not read_lines(run_dir / "rounds.jsonl")

    # What was prepared is found again without the archives.
    where |= {"manual_dir": None, "export": [], "without": WITHOUT}
    command(**{**SMALL, **where})
    out = capsys.readouterr().out
    assert "imagenet2012/5.1.0; 8 train, 4 validation, 4 test" in out
    assert "round 0: continuing after epoch 0." in out
    assert [r["layers"] for r in read_lines(run_dir / "rounds.jsonl")] == [14, 10]
    epochs = [0.25, 0.5, 0.75, 1]
    history = read_lines(run_dir / "history.jsonl")
    assert [line["epoch"] for line in history] == 2 * epochs
    assert len(read_lines(run_dir / "sessions.jsonl")) == 2
    assert str(folder / "manual") not in (run_dir / "flags.txt").read_text()
    recipe = read_json(run_dir / "run.json")["recipe"]
    assert recipe["parts"] == 4 and recipe["milestones"] == [2, 2]


def test_the_defaults_are_the_papers():
    values = rows.settings(rows.BY_RUN["in-main"])
    assert [values[name] for name in ("depth", "epochs", "batch_size")] == [50, 90, 512]
    with flagsaver.flagsaver():
        imagenet.apply_scale()
        import resprune_tf as rp
        from experiments.running import recipe_flags

        recipe = recipe_flags.settings(rp)["recipe"]
    assert recipe.milestones == (31, 61)
    assert recipe == rp.Recipe(
        90, 512, drops=recipe.drops, parts=imagenet.DEFAULTS["parts"]
    )
    rates = [recipe.learning_rate_at(epoch) for epoch in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_missing_data_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="error: (?s:.*)no ILSVRC2012_img_train.tar"):
        command(manual_dir=str(tmp_path), data_dir=str(tmp_path), run_dir=str(tmp_path))


def test_real_images_at_the_scale_smoke(tmp_path, capsys):
    data_dir = os.environ.get("RESPRUNE_TEST_IMAGENET_DIR")
    if not data_dir:
        pytest.skip(
            "RESPRUNE_TEST_IMAGENET_DIR is not set: a folder whose folder `manual` "
            "holds archives in ImageNet's layout, of 128 images or more"
        )
    command(
        scale="smoke",
        depth=18,
        without=WITHOUT,
        importance=False,
        max_rounds=0,
        manual_dir=f"{data_dir}/manual",
        data_dir=str(tmp_path / "tfds"),
        run_dir=str(tmp_path / "run"),
    )
    assert "64 train, 32 validation, 32 test" in capsys.readouterr().out
    assert "--scale=smoke" in (tmp_path / "run" / "flags.txt").read_text()
