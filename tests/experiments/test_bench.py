"""The benchmark measures, survives what fails, and its page comes from records."""

import json
import math
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments.bench import page as bench_page
from experiments.bench import rounds
from experiments.bench import variants as bench_variants
from experiments.bench.pipe import NotInstalled, Worker, WorkerError
from resprune_tf import Architecture, build_resnet
from tests.conftest import images_of, outputs, small_net

TINY = {"depth": 11, "width": 2, "image_size": 8, "batch_size": 4, "steps": 2}


def test_end_to_end(tmp_path):
    """Two variants measured, a third without its framework, in real processes."""
    out = tmp_path / "made" / "here.json"
    flags = [f"--{name}={value}" for name, value in TINY.items()]
    command = [sys.executable, "-m", "experiments.bench", *flags, "--repeats=2"]
    chosen = "--variants=ours-float32,keras-float32,torch-float32"
    done = subprocess.run(
        [*command, chosen, f"--out={out}", "--torch_python=/no/python"],
        capture_output=True,
        text=True,
        cwd=bench_variants.ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "round 2 of 2, about" in done.stdout and "images/s" in done.stdout
    assert [path.name for path in out.parent.iterdir()] == ["here.json"]

    record = json.loads(out.read_text())
    assert "/no/python" not in out.read_text() and str(tmp_path) not in out.read_text()
    assert record["command"].startswith("python -m experiments.bench --variants=ours-")
    variants = record["variants"]
    assert variants["ours-float32"]["status"] == "measured"
    net = Architecture.cifar(11, width=2, image_shape=(8, 8, 3))
    model = build_resnet(net)
    assert variants["ours-float32"]["parameters"] == parameters(model)
    assert variants["torch-float32"]["status"].startswith("not installed: torch; ")
    assert "pip install torch" in variants["torch-float32"]["status"]
    assert len(record["rounds"]) == 2
    for measured in record["rounds"]:
        assert set(measured) == {"ours-float32", "keras-float32"}
        assert set(measured["ours-float32"]) == {"train", "infer", "infer_folded"}
        assert 0 < measured["ours-float32"]["train"]["outside"] < 1
        for result in [*measured["ours-float32"].values()]:
            assert result["images"] == 8 and result["seconds"] > 0
            assert result["elsewhere"] is None or 0 <= result["elsewhere"] <= 1
    section = bench_page.section(record)
    assert section in done.stdout
    assert "PyTorch float32: not installed" in section


def parameters(model):
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def worker(code):
    """A worker that runs some Python instead."""
    serve = "from experiments.bench.worker import serve; "
    command = [sys.executable, "-c", serve + code]
    return Worker(command, {"path": "fake"}, {}, bench_variants.ROOT)


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("import sys; sys.exit('no luck')", WorkerError, "^exit status 1: no luck$"),
        (
            "import os; os.kill(os.getpid(), 9)",
            WorkerError,
            "^ended by SIGKILL$",
        ),
        ("serve(lambda s: 1 / 0)", WorkerError, "^ZeroDivisionError: division by zero"),
        ("serve(lambda s: __import__('no_such'))", NotInstalled, "^no_such$"),
        ("import time; time.sleep(60)", WorkerError, "^no answer within 1 s$"),
    ],
)
def test_a_worker_that_fails_says_why(code, error, reason):
    with_error = worker(code)
    start = time.monotonic()
    with pytest.raises(error, match=reason):
        with_error.ready(timeout=1 if "sleep" in code else 30)
    with_error.close()
    assert time.monotonic() - start < 30


def test_what_libraries_print_is_no_answer():
    code = "serve(lambda s: (print('hello') or s, lambda name: {'name': name}))"
    chatty = worker(code)
    assert chatty.ready(30) == {"path": "fake"}
    assert chatty.measure("train", 30) == {"name": "train"}
    chatty.close()


class FakeWorker:
    """A worker without a process; `plan` says when which one fails."""

    plan = {}
    asked = []

    def __init__(self, command, settings, environment, folder):
        self.name = f"{settings['path']}-{settings['precision']}"
        self.calls = 0

    def ready(self, timeout):
        if self.plan.get(self.name) == "start":
            raise WorkerError("cannot start")
        count = 7 if self.plan.get(self.name) == "other net" else 5
        facts = {"device": "cpu", "versions": {}}
        facts |= {"warm_up_seconds": 1.0, "memory_mb": 2000}
        return {"parameters": count, **facts}

    def measure(self, name, timeout):
        self.calls += 1
        self.asked.append(self.name)
        if self.calls == self.plan.get(self.name):
            raise WorkerError("died")
        return {"images": 8, "seconds": 0.5, "cpu_seconds": 0.4, "outside": 0.01}

    def close(self):
        pass


@pytest.fixture
def benchmark(monkeypatch):
    """Function from what fails to a benchmark of three variants."""
    monkeypatch.setattr(rounds, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "asked", [])

    def make(plan, minutes=math.inf):
        monkeypatch.setattr(FakeWorker, "plan", plan)
        return rounds.Benchmark(
            [
                bench_variants.VARIANTS[name]
                for name in ("ours-float32", "keras-float32", "torch-float32")
            ],
            dict(TINY),
            sys.executable,
            timeout=1,
            deadline=time.monotonic() + 60 * minutes,
        )

    return make


def test_the_others_go_on_when_a_worker_fails(benchmark, capsys):
    bench = benchmark({"keras-float32": 3})
    bench.start()
    assert len(list(bench.rounds(3))) == 3
    assert bench.record["variants"]["keras-float32"] == {"status": "failed: died"}
    assert set(bench.record["rounds"][0]) == {
        "ours-float32",
        "keras-float32",
        "torch-float32",
    }
    assert set(bench.record["rounds"][2]) == {"ours-float32", "torch-float32"}
    assert "failed: died" in capsys.readouterr().out


def test_no_variant_is_always_the_first(benchmark):
    bench = benchmark({})
    bench.start()
    firsts = [bench.tasks(number)[0][0].path for number in range(4)]
    assert firsts == ["ours", "keras", "torch", "ours"]
    list(bench.rounds(1))
    assert FakeWorker.asked[:4] == [
        "ours-float32",
        "keras-float32",
        "torch-float32",
        "ours-float32",
    ]


def test_another_net_and_a_failed_start_are_left_out(benchmark):
    bench = benchmark({"keras-float32": "start", "torch-float32": "other net"})
    bench.start()
    statuses = [v["status"] for v in bench.record["variants"].values()]
    assert statuses == [
        "measured",
        "failed: cannot start",
        "failed: another net: 7 parameters, not 5",
    ]
    list(bench.rounds(1))
    assert list(bench.record["rounds"][0]) == ["ours-float32"]


def test_time_budget(benchmark):
    late = benchmark({}, minutes=0)
    late.start()
    assert not list(late.rounds(3))
    assert late.record["variants"]["ours-float32"]["status"].startswith("skipped: ")
    short = benchmark({}, minutes=2.5 / 60)  # a round is expected to take 3 s
    short.start()
    assert not list(short.rounds(3)) and not short.record["rounds"]


def test_no_worker_is_started_that_would_not_fit(benchmark, monkeypatch):
    bench = benchmark({})
    monkeypatch.setattr(rounds, "_free_mb", lambda: 1500)
    bench.start()
    assert [v["status"] for v in bench.record["variants"].values()] == [
        "measured",
        *["skipped: 1.5 GB of memory free, a worker takes 2.0"] * 2,
    ]


def test_wrong_flags():
    command = [sys.executable, "-m", "experiments.bench"]
    for flag, message in (
        ("--variants=none", "error: no variant none; there are ours-float32, "),
        ("--depth=12", "error: --depth must be 9n+2"),
    ):
        done = subprocess.run(
            [*command, flag], capture_output=True, text=True, cwd=bench_variants.ROOT
        )
        assert done.returncode == 1 and done.stderr.startswith(message)


def made_record(speeds, **changes):
    """A record of `speeds`: lists of images/s by variant, the same for all measures."""
    measured = [
        {
            name: {
                measure: {
                    "images": 100,
                    "seconds": 100 / each[number],
                    "cpu_seconds": 1.0,
                    "outside": 0.02,
                    "elsewhere": 0.07,
                }
                for measure in bench_variants.VARIANTS[name].measures
            }
            for name, each in speeds.items()
        }
        for number in range(3)
    ]
    facts = {"parameters": 590441, "device": "cpu", "versions": {"keras": "3.15.1"}}
    return {
        "settings": {**TINY, "depth": 56, "repeats": 3},
        "variants": {name: {"status": "measured", **facts} for name in speeds},
        "rounds": measured,
        "environment": {
            "python": "3.11",
            "platform": "Linux",
            "cpu": "Some CPU",
            "cores": 4,
        },
        "devices": ["cpu"],
        "command": "python -m experiments.bench",
        "started": "2026-01-02T03:04:05+0000",
        "minutes": 2.0,
        **changes,
    }


def test_ratios_are_of_one_round_and_losses_are_named():
    record = made_record(
        {
            "ours-float32": [100, 50, 200],
            "keras-float32": [50, 30, 90],
            "torch-float32": [110, 60, 300],
        }
    )
    record["variants"]["torch-bfloat16"] = {"status": "failed: SomeError: no"}
    text = bench_page.section(record)
    assert "## Some CPU, 4 cores" in text and "590,441 trainable parameters" in text
    assert "7 % in the worst measurement. The machine was not idle.\n" in text
    # The ratio of the medians would be 0.50 and 1.10.
    assert (
        "| plain Keras on TensorFlow float32 | 50.0 | 30.0-90.0 | 0.50 (0.45-0.60)"
        in text
    )
    assert "| PyTorch float32 | 110.0 | 60.0-300.0 | 1.20 (1.10-1.50)" in text
    assert "- PyTorch float32, training: 1.20 (1.10-1.50) times as fast as this" in text
    assert "plain Keras on TensorFlow float32, training:" not in text
    assert "In other comparisons (2) we were ahead in every round." in text
    assert "- PyTorch bfloat16: failed: SomeError: no" in text
    assert "this package on TensorFlow float32: 2.0 % (2.0-2.0)\n" in text


def test_a_draw_is_no_win():
    text = bench_page.section(
        made_record({"ours-float32": [100] * 3, "torch-float32": [90, 95, 101]})
    )
    assert "PyTorch float32, training: no clear difference, 0.95 (0.90-1.01)" in text


def test_page(tmp_path):
    assert bench_page.bench_page(tmp_path).endswith("No record yet.\n")
    (tmp_path / "b.json").write_text(json.dumps(made_record({"ours-float32": [1] * 3})))
    page = bench_page.bench_page(tmp_path)
    assert page.startswith("# How fast it is") and page.count("\n## ") == 1
    assert page == bench_page.bench_page(tmp_path)


_PEER = """
import json, sys, torch
from experiments.bench_torch import ResNet
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
    named = os.environ.get("BENCH_TORCH_PYTHON", bench_variants.TORCH_PYTHON)
    for python in (bench_variants.ROOT / named, pathlib.Path(sys.executable)):
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
        cwd=bench_variants.ROOT,
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
