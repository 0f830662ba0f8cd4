"""The same package on JAX, where TensorFlow is not to be had."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.conftest import jax_environment
from tests.training.gradients import loss_and_gradients, two_stages

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


def on_jax(name, *arguments, timeout=900):
    """Runs Python under KERAS_BACKEND=jax; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **jax_environment(name)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


# One process: its start and JAX's first programs take longer than what it does.
SCRIPT = """
import sys, tests.made.no_tensorflow, keras, numpy as np
from absl import flags
from absl.testing import flagsaver
from experiments import cifar
from tests.conftest import outputs
from tests.training.gradients import loss_and_gradients
assert keras.backend.backend() == "jax"
folder, *arguments = sys.argv[1:]
with np.load(f"{folder}/batch.npz") as data:
    model = keras.saving.load_model(f"{folder}/model.keras")
    loss, gradients = loss_and_gradients(model, data["images"], data["labels"])
    logits = outputs(model, data["images"])
np.savez(f"{folder}/found.npz", loss, logits, *gradients)
for more in (["--time_budget_minutes=0.0001"], []):
    with flagsaver.flagsaver():
        flags.FLAGS(["cifar", *arguments, *more])
        try:
            cifar.main(["cifar"])
        except SystemExit as end:
            assert not end.code, end.code
    print("end of a run")
"""


def batch():
    """A model, and images and labels for it."""
    model = two_stages(unit_kind="basic", image_shape=(16, 16, 3))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 16, 16, 3)).astype("float32")
    return model, images, rng.integers(0, 5, 16)


FLAGS = (
    "--dataset=digits --depth=14 --unit_kind=basic --width=4 --train_examples=128 "
    "--epochs=2 --retrain_epochs=1 --batch_size=64 --units_per_round=3"
).split()


@pytest.fixture(scope="module")
def jax(tmp_path_factory):
    """A folder with what one process on JAX came to, and what it printed."""
    folder = tmp_path_factory.mktemp("jax")
    model, images, labels = batch()
    model.save(folder / "model.keras")
    np.savez(folder / "batch.npz", images=images, labels=labels)
    run_dir = f"--run_dir={folder / 'run0'}"
    out = on_jax("run", "-c", SCRIPT, folder, *FLAGS, run_dir)
    return folder, out.split("end of a run\n")


def test_losses_and_gradients_agree_between_backends(jax):
    """One batch, the same weights: float32 rounding, and no more."""
    model, images, labels = batch()
    logits = keras.ops.convert_to_numpy(model(images, training=False))
    loss, gradients = loss_and_gradients(model, images, labels)
    with np.load(jax[0] / "found.npz") as data:
        theirs = [data[name] for name in data.files]
    np.testing.assert_allclose(logits, theirs[1], rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(float(theirs[0]), rel=1e-5)
    assert len(gradients) == len(theirs[2:]) == len(model.trainable_variables)
    for a, b in zip(gradients, theirs[2:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max() + 1e-6)


# Run again as a whole on the other backend.
TESTS = (
    "tests/system/test_precision.py::test_evaluation_computes_in_exact_float32",
    "tests/training/test_batch_norm.py",
    "tests/graph/test_cloning.py",
    "tests/graph/test_compilation.py::test_a_copied_optimizer_shares_nothing",
    "tests/training/test_fast_copy.py",
    "tests/units/test_removal.py::test_removal_equals_silencing_for_random_subsets",
    "tests/training/test_resident.py",
    *(
        f"tests/training/test_scaled_weights.py::{test}"
        for test in (
            "test_losses_gradients_and_statistics_are_those_of_the_stock_layers[conv]",
            "test_losses_gradients_and_statistics_are_those_of_the_stock_layers[norm]",
            "test_every_unit_of_a_resnet_trains_in_this_form[basic-post]",
            "test_bfloat16_multiplies_the_float32_weights",
        )
    ),
    "tests/training/test_trainer.py::test_state_continues_exactly",
    "tests/units/test_finding.py::test_units_of_nested_models_carry_their_path",
    "tests/units/test_finding.py::test_masks_are_those_of_the_silenced_net",
    "tests/units/test_finding.py::test_opaque_layers_are_named_and_can_be_registered_or_opened",
    "tests/units/test_finding.py::test_subclassed_models_are_opened_to_the_bottom",
)


def test_core_tests_pass_on_jax():
    command = ["-m", "pytest", "-q", "-n", "0", "-p", "tests.made.no_tensorflow"]
    out = on_jax("tests", *command, *TESTS)
    assert " passed" in out and "skipped" not in out


def test_the_whole_experiment_runs_on_jax(jax):
    """Stopped at once, then continued: trains, scores, removes."""
    folder, (stopped, continued, _) = jax[0] / "run0", jax[1]
    assert "Stopped: the time budget" in stopped
    assert "Report: " in continued
    assert json.loads((folder / "run.json").read_text())["backend"] == "jax"
    assert len((folder / "sessions.jsonl").read_text().splitlines()) == 2
    assert "--seed=0" in (folder / "flags.txt").read_text().split()
    model = keras.saving.load_model(folder / "export/model.keras")  # on TensorFlow
    assert model.output_shape == (None, 10)
