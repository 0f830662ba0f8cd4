"""The benchmark measures, survives what fails, and its page comes from records."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments.bench import __main__ as bench
from experiments.bench import page as bench_page
from experiments.bench.recorded import recorded_runs
from experiments.bench.variants import ROOT, TORCH_PYTHON, VARIANTS
from resprune_tf import Architecture, build_resnet
from tests.conftest import images_of, outputs, small_net
from tests.made.runs import make_final, make_rounds, write_records

TINY = {"depth": 11, "width": 2, "image_size": 8, "batch_size": 4, "steps": 2}
NAMES = ("ours-float32", "keras-float32", "torch-float32")


@pytest.mark.slow
def test_end_to_end(tmp_path, capsys):
    """Two variants measured, a third without its framework, in real processes."""
    flags = [
        f"--variants={','.join(NAMES)}",
        "--repeats=1",
        "--torch_python=/no/python",
    ]
    flags += [f"--{name}={value}" for name, value in TINY.items()]
    bench.main(flags, records=tmp_path)
    (path,) = (tmp_path / "bench").iterdir()
    assert "train" in (printed := capsys.readouterr().out) and "written" in printed
    assert "/no/python" not in (text := path.read_text()) and "/home" not in text
    record = json.loads(text)
    assert record["command"].startswith(f"{bench.COMMAND} --variants=ours-float32,")
    variants = record["variants"]
    model = build_resnet(Architecture.cifar(11, width=2, image_shape=(8, 8, 3)))
    assert variants["ours-float32"]["parameters"] == parameters(model)
    assert variants["ours-float32"]["train_memory_mb"] > 100
    assert "`make bench` installs it" in variants["torch-float32"]["status"]
    (measured,) = record["rounds"]
    assert set(measured["ours-float32"]) == {"train", "infer", "infer_folded"}
    assert set(measured["keras-float32"]) == {"train", "infer"}
    for result in measured["ours-float32"].values():
        assert result["images"] == 8 and result["seconds"] > 0
        assert result["elsewhere"] is None or 0 <= result["elsewhere"] <= 1
    section = bench_page.section(record)
    assert section.count("plain Keras on TensorFlow float32 |") == 2
    assert "PyTorch float32: failed: its Python is missing" in section


def parameters(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo text >&2; echo 'Error: no luck' >&2; exit 3",
            "status 3: Error: no luck$",
        ),
        ("kill -9 $$", "^exit status -9"),
        ("exec sleep 60", "^no result within 1 s$"),
    ],
)
def test_a_process_that_fails_says_why(tmp_path, monkeypatch, script, reason):
    monkeypatch.setattr(bench, "_TIMEOUT", 1)
    with pytest.raises(bench.BenchFailed, match=reason):
        bench.measure("torch-float32", TINY, python(tmp_path, script))


def test_what_libraries_print_is_no_result(tmp_path):
    script = """echo hello; echo '[{"parameters": 5}, {}]'"""
    found = bench.measure("torch-float32", TINY, python(tmp_path, script))
    assert found == [{"parameters": 5}, {}]


def python(folder, script):
    """A file that is run in place of an interpreter."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def rounds(monkeypatch):
    """Function from what each variant's calls do to the record of three rounds."""

    def run(plan):
        def measure(name, settings, torch_python):
            asked.append(name)
            if plan.get(name) == asked.count(name):
                raise bench.BenchFailed("died")
            times = {"images": 8, "seconds": 0.5, "cpu_seconds": 0.4}
            count = 7 if plan.get(name) == "other network" else 5
            return {"parameters": count, "device": "cpu"}, {"train": times}

        asked = []
        monkeypatch.setattr(bench, "measure", measure)
        known = {name: {"status": "measured"} for name in NAMES}
        record = {"settings": TINY, "variants": known, "rounds": []}
        for number in range(3):
            bench.measure_round(record, number, "python")
        return record, asked

    return run


def test_no_variant_is_always_the_first(rounds):
    ours, keras, torch = NAMES
    _, asked = rounds({})
    assert asked == [ours, keras, torch, keras, torch, ours, torch, ours, keras]


def test_the_others_go_on_when_one_fails(rounds, capsys):
    record, _ = rounds({"keras-float32": 3})
    assert record["variants"]["keras-float32"] == {"status": "failed: died"}
    assert set(record["rounds"][0]) == set(NAMES)
    assert set(record["rounds"][2]) == {"ours-float32", "torch-float32"}
    assert "failed: died" in capsys.readouterr().out
    assert bench_page.speeds(record, "keras-float32", "train") == []
    assert bench_page.speeds(record, "ours-float32", "train") == [16] * 3


def test_another_network_is_left_out(rounds):
    record, asked = rounds({"torch-float32": "other network"})
    status = "failed: another model: 7 parameters"
    assert record["variants"]["torch-float32"] == {"status": status}
    assert set(record["rounds"][0]) == {"ours-float32", "keras-float32"}
    assert asked.count("torch-float32") == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--variants=none",
            "error: there is no variant none. Choose from ours-float32, ",
        ),
        (
            "--depth=12",
            "error: --depth must be 9n.2 for bottleneck units. Received: 12",
        ),
        ("--steps=0", "error: --steps must be >= 1. Received: 0"),
    ],
)
def test_wrong_flags(flag, message, capsys):
    with pytest.raises(SystemExit):
        bench.main([flag])
    assert message.replace("n.2", "n+2") in capsys.readouterr().err


def made_record(speeds):
    """A record of `speeds`: lists of images/s by variant, the same for all measures."""
    measured = [
        {
            name: {
                measure: {
                    "images": 100,
                    "seconds": 100 / each[number],
                    "cpu_seconds": 1.0,
                    "elsewhere": 0.07,
                }
                for measure in VARIANTS[name].measures
            }
            for name, each in speeds.items()
        }
        for number in range(3)
    ]
    facts = {"parameters": 590441, "device": "cpu", "versions": {"keras": "3.15.1"}}
    machine = {"python": "3.11", "platform": "Linux", "cpu": "Some CPU", "cores": 4}
    return {
        "settings": {**TINY, "depth": 56, "repeats": 3},
        "variants": {name: {"status": "measured", **facts} for name in speeds},
        "rounds": measured,
        "environment": machine,
        "devices": ["cpu"],
        "command": bench.COMMAND,
        "started": "2026-01-02T03:04:05+0000",
        "minutes": 2.0,
    }


def test_ratios_are_of_one_round_and_of_one_precision():
    record = made_record(
        {
            "ours-float32": [100, 50, 200],
            "ours-bfloat16": [200, 200, 200],
            "keras-float32": [50, 30, 90],
            "torch-bfloat16": [220, 240, 300],
        }
    )
    record["variants"]["torch-float32"] = {"status": "failed: SomeError: no"}
    record["variants"]["ours-float32-before"] = {"status": "measured"}
    text = bench_page.section(record)
    assert "## Some CPU, 4 cores" in text and "590,441 trainable parameters" in text
    assert "other processes used 7 (7-7) % of the processors" in text
    # The ratio of the medians would be 0.50.
    row = "| plain Keras on TensorFlow float32 | 50.0 (30.0-90.0) | 0.50 (0.45-0.60) |"
    assert text.count(row) == 2
    assert text.count("| PyTorch bfloat16 | 240.0 (220.0-300.0) | 1.20 (1.10-1.5") == 2
    assert text.count("TensorFlow bfloat16 | 200.0 (200.0-200.0) | 2.00 (1.00-4.") == 1
    failed = "PyTorch float32: failed: SomeError: no"
    assert f"Not shown: {failed}; ours-float32-before: no longer compared." in text


def test_the_summary_compares_in_pairs(tmp_path):
    """The ratio is taken within a round: of 100/50, 50/30, 200/90."""
    speeds = {"ours-float32": [100, 50, 200], "keras-float32": [50, 30, 90]}
    (folder := tmp_path / "bench").mkdir()
    (folder / "a.json").write_text(json.dumps(made_record(speeds)))
    page = bench_page.bench_page(folder)
    start = "| Some CPU, 4 cores | bottleneck | float32 | plain Keras | 3 |"
    assert f"{start} 2.0 (1.7-2.2) | 2.0 (1.7-2.2) |" in page
    assert "| bfloat16 |" not in page


def test_recorded_runs(tmp_path):
    """The first epoch is shown apart; digits and smoke tests are left out."""
    rounds = make_rounds(0.9, 0.9)
    run = {
        "dataset": {"name": "cifar10", "train": 1000},
        "recipe": {"batch_size": 300, "precision": "bfloat16"},
        "backend": "jax",
    }
    seconds = {0: (9, 2, 4, 3), 1: (5,)}  # one epoch has no median without its first
    for name in ("cifar10/a-seed0", "cifar10/a-proof-seed0", "digits/a-seed0"):
        folder = tmp_path / name
        write_records(
            folder,
            rounds,
            make_final(rounds, 1),
            run=run,
            environment={"devices": "1 Swift"},
        )
        lines = [
            {"round": number, "epoch": index, "seconds": value}
            for number, values in seconds.items()
            for index, value in enumerate(values)
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / "history.jsonl").write_text(text)
    text = recorded_runs(tmp_path)
    layers = rounds[0]["layers"]
    common = f"| cifar10/a-seed0 | 1 Swift | jax | bfloat16 | {layers} | 3 "
    assert f"{common}| 3.00 (2.00-4.00) | 9.0 | 300 |" in text
    assert text.count("seed0 |") == 1
    assert recorded_runs(tmp_path / "none") == ""


def test_page(tmp_path):
    (folder := tmp_path / "bench").mkdir()
    assert bench_page.bench_page(folder) is None
    (folder / "b.json").write_text(json.dumps(made_record({"ours-float32": [1] * 3})))
    page = bench_page.bench_page(folder)
    assert (
        page.startswith("# Speed of training and inference")
        and page.count("\n## ") == 1
    )


_PEER = """
import json, sys, torch
from experiments.bench.torch_variant import ResNet
paper, given = ResNet(), json.load(sys.stdin)
net = ResNet(given["depth"], given["width"], given["classes"], given["post"])
values = {k: torch.tensor(v) for k, v in given["values"].items()}
left = net.load_state_dict(values, strict=False)
assert not left.unexpected_keys, left
assert all(key.endswith("num_batches_tracked") for key in left.missing_keys), left
images = torch.tensor(given["images"]).permute(0, 3, 1, 2)
print(json.dumps({
    "parameters": sum(p.numel() for p in paper.parameters()),
    "inference": net.eval()(images).tolist(),
    "training": net.train()(images).tolist(),
}))
"""


def torch_python():
    """An interpreter that has PyTorch, or None."""
    named = os.environ.get("BENCH_TORCH_PYTHON", TORCH_PYTHON)
    for python in (ROOT / named, pathlib.Path(sys.executable)):
        if python.exists():
            asked = subprocess.run([python, "-c", "import torch"], capture_output=True)
            if asked.returncode == 0:
                return python
    return None


@pytest.mark.parametrize("post", [False, True])
def test_the_torch_peer_is_the_very_same_net(post):
    python = torch_python()
    if python is None:
        pytest.skip("no PyTorch: `make bench` installs it, or set BENCH_TORCH_PYTHON")
    kind = {"unit_kind": "basic", "activation": "post"} if post else {}
    model = small_net(num_classes=10, **kind)
    images = images_of(model)
    given = {
        "post": post,
        "depth": 20,
        "width": 4,
        "classes": 10,
        "values": torch_values(model),
        "images": images.tolist(),
    }
    done = subprocess.run(
        [python, "-c", _PEER],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    peer = json.loads(done.stdout)
    assert peer["parameters"] == parameters(build_resnet(Architecture.cifar(56)))
    assert peer["parameters"] == 590_426 + 15  # and an ω for each removable unit
    for name, ours in (
        ("inference", outputs(model, images)),
        ("training", np.asarray(model(images, training=True))),
    ):
        scale = np.abs(ours).max()
        np.testing.assert_allclose(peer[name], ours, atol=2e-5 * scale, err_msg=name)


def torch_values(model):
    """Variables of one of our nets as lists, by the names in the peer."""
    names = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    values = {}
    for layer in model.layers:
        for variable in layer.variables:
            value = np.asarray(variable)
            if value.ndim == 4:
                value = value.transpose(3, 2, 0, 1)
            elif value.ndim == 2:
                value = value.T
            stage, _, rest = layer.name.partition("_unit")
            unit, _, part = rest.partition("_")
            place = f"units.{stage}_unit{unit}.{part}" if rest else layer.name
            ending = names.get(variable.name, variable.name)
            name = place if variable.name == "importance" else f"{place}.{ending}"
            values[name] = value.tolist()
    return values
