"""What this machine computes natively."""

import pathlib

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import resprune_tf as rp
from experiments import cifar  # noqa: F401 - cifar defines all flags
from experiments.running import recipe_flags  # noqa: F401 - cifar defines all flags
from resprune_tf import Recipe, native_precision
from resprune_tf.training.trainer import evaluate
from tests.made.runs import make_final, make_rounds, write_records

FLAGS = "processor\t: 0\nflags\t\t: fpu {} avx2\npower management:\n"


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("avx512_bf16", "bfloat16"),
        ("amx_bf16 amx_tile", "bfloat16"),
        ("avx512f amx_int8", "float32"),
    ],
)
def test_the_processor_decides_where_there_is_no_accelerator(
    flags, expected, monkeypatch
):
    monkeypatch.setattr(
        pathlib.Path, "read_text", lambda path: FLAGS.format(flags), raising=True
    )
    assert native_precision() == expected


def test_without_a_list_of_flags_it_is_float32(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(pathlib.Path, "read_text", missing)
    assert native_precision() == "float32"


@pytest.mark.parametrize("capability, expected", [(7.5, "float32"), (8.0, "bfloat16")])
def test_a_gpu_decides_by_its_compute_capability(capability, expected, monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("asks TensorFlow")
    from tensorflow import config

    details = {"compute_capability": (int(capability), int(10 * capability) % 10)}
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(config.experimental, "get_device_details", lambda _: details)
    assert native_precision() == expected


def test_evaluation_computes_in_exact_float32():
    """GPUs else round the factors of products to TensorFloat-32."""
    found = []

    class Model:
        def predict_on_batch(self, images):
            found.append(_rounds_float32())
            return np.zeros((len(images), 2), "float32")

    before = _rounds_float32()
    split = rp.Split(np.zeros((3, 4, 4, 3), "uint8"), np.zeros(3, "int32"))
    evaluate(Model(), split)
    assert found == [False]
    assert _rounds_float32() == before is True


def _rounds_float32():
    """Whether the backend may round float32 factors on a GPU."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.config.jax_default_matmul_precision != "highest"
    from tensorflow.config import experimental

    return experimental.tensor_float_32_execution_enabled()


def test_a_recipe_takes_it():
    assert Recipe(precision=native_precision()).precision in ("float32", "bfloat16")


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("flag", ["run_dir", "start_from", "twin_of", "compute_of"])
def test_auto_keeps_what_was_decided_once(flag, tmp_path, monkeypatch):
    """Another machine continues a run, and compares with it, in the same precision."""
    monkeypatch.setattr(rp, "native_precision", lambda: "bfloat16")

    def decided(*arguments):
        with flagsaver.flagsaver():
            flags.FLAGS(["cifar", "--precision=auto", *arguments])
            return recipe_flags.settings(rp)["recipe"].precision

    run = tmp_path / "run"
    assert decided(f"--{flag}={run}") == "bfloat16"
    rounds = make_rounds(0.9, 0.9)
    run_json = {"recipe": {"precision": "float32"}}
    write_records(run, rounds, make_final(rounds, 1), run=run_json)
    assert decided(f"--{flag}={run}") == "float32"
