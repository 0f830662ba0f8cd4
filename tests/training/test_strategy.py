"""Training on two replicas: what must be equal to one, and the same decisions."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import resprune_tf as rp
from resprune_tf import (
    Recipe,
    RunOptions,
    Strategy,
    prune_and_retrain,
    training_strategy,
)
from resprune_tf.system.whole_files import read_json, read_lines
from resprune_tf.training.trainer import Trainer
from tests.conftest import jax_environment, shallow_net, toy_dataset
from tests.made.fits import numbers, regression_net
from tests.made.processes import Forked
from tests.training import strategy_child
from tests.training.strategy_child import EXACT

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


def child(folder, strategy, *cases, log="log", **environment):
    """A process on TensorFlow. It is forked, because importing takes seconds."""
    return Forked(
        *("tests.training.strategy_child", folder, strategy, *cases),
        log=folder / log,
        environment=environment,
    )


def jax_child(folder, strategy, *cases):
    """A process on two devices of JAX."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.training.strategy_child",
            folder,
            strategy,
            *cases,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            **jax_environment(strategy),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outputs(*processes):
    """What processes print that must all end well."""
    try:
        printed = [
            process.wait()
            if isinstance(process, Forked)
            else process.communicate(timeout=240)[0]
            for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(printed)
    return printed


def arrays(path):
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def assert_close(found, reference, cases):
    for name, array in reference.items():
        if name.split("-")[0] in cases:
            atol = 1e-6 * max(1, np.abs(array).max())
            np.testing.assert_allclose(found[name], array, 1e-5, atol, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What training on one device comes to."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    return strategy_child.outcome(Strategy(), folder), folder


def removed(folder):
    return [line["removed"] for line in read_lines(folder / "rounds.jsonl")]


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirrored")
    (printed,) = outputs(child(folder, "mirrored", *EXACT, "deletion"))
    return folder, printed


def test_two_devices_train_as_one(mirrored, alone):
    """Losses, gradients, penalties, decay, augmentation and moving means."""
    folder, printed = mirrored
    assert "mirrored: 2 replicas" in printed
    assert_close(arrays(folder / "mirrored-0.npz"), alone[0], EXACT)


def test_a_run_on_two_devices_decides_the_same(mirrored, alone):
    folder, printed = mirrored
    assert "stopped: enough" in printed
    assert removed(folder / "mirrored") == removed(alone[1]) == [[], ["unit1"]]
    settings = read_json(folder / "mirrored" / "run.json")
    assert settings["strategy"] == {"name": "mirrored", "replicas": 2}
    assert len(read_lines(folder / "mirrored" / "sessions.jsonl")) == 2


def test_removal_keeps_the_strategy_of_a_model(mirrored):
    assert "deleted: ['unit2'] 2" in mirrored[1]


def test_two_workers_train_as_one(tmp_path, mirrored, alone):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    workers = [
        child(
            tmp_path,
            "multiworker",
            "streamed",
            log=f"log{index}",
            TF_CONFIG=json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
        )
        for index in range(2)
    ]
    chief, other = outputs(*workers)
    assert "2 replicas, chief: True" in chief and "2 replicas, chief: False" in other
    assert (
        "refused: All workers must" in chief
        and "Different on this worker: settings" in other
    )
    assert "stopped: enough" in chief and "stopped: another worker stops" in other
    files = [tmp_path / f"multiworker-{index}.npz" for index in range(2)]
    found, others = map(arrays, files)
    for name in found:
        np.testing.assert_array_equal(found[name], others[name])
    on_two_devices = arrays(mirrored[0] / "mirrored-0.npz")
    # Such a run trains on images in memory, too.
    assert_close(found, on_two_devices, ("streamed", "run"))
    run = tmp_path / "multiworker"
    assert removed(run) == removed(alone[1])
    # The chief's, and nobody else's.
    assert len(read_lines(run / "sessions.jsonl")) == 2
    assert read_json(run / "run.json")["strategy"]["name"] == "multiworker"


def test_two_devices_train_as_one_on_jax(tmp_path):
    """There with the whole batch's statistics, so that a whole run is the same."""
    names = ("none", "mirrored")
    printed = outputs(*(jax_child(tmp_path, n, "streamed", "own") for n in names))
    assert "mirrored: 2 replicas" in printed[1] and "stopped: enough" in printed[1]
    one, two = (arrays(tmp_path / f"{name}-0.npz") for name in names)
    assert_close(two, one, ("run", "streamed", "own"))
    assert removed(tmp_path / "mirrored") == [[], ["unit1"]]


class _Three(Strategy):
    replicas = 3


def test_a_batch_that_cannot_be_shared_is_refused_before_any_work(tmp_path):
    model, data = shallow_net(), toy_dataset()
    recipe = Recipe(epochs=1, batch_size=16)
    message = "among 3 replicas.*multiple of that. Received: batch_size=16"
    with pytest.raises(ValueError, match=message):
        prune_and_retrain(
            model, data, recipe, run=RunOptions(tmp_path / "never", strategy=_Three())
        )
    assert not (tmp_path / "never").exists()
    with pytest.raises(ValueError, match=message):
        Trainer(model, data, recipe, seed=0, strategy=_Three())


def test_senseless_strategies():
    with pytest.raises(ValueError, match="one of none, mirrored, multi.*'many'"):
        training_strategy("many")
    with pytest.raises(ValueError, match="for the mirrored strategy only"):
        training_strategy("none", devices=["CPU:0"])
    with pytest.raises(ValueError, match="no device GPU:9. Devices: .*CPU:0"):
        training_strategy("mirrored", devices=["GPU:9", "CPU:0"])
    with pytest.raises(TypeError, match="a list of names.*'CPU:0'"):
        training_strategy("mirrored", devices="CPU:0")


def test_several_workers_need_their_addresses(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match='needs TF_CONFIG.*"cluster"'):
        training_strategy("multiworker")


def test_several_workers_are_tensorflows(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="multiworker strategy does not support.*jax"):
        training_strategy("multiworker")


@pytest.mark.parametrize(("size", "batch"), [(19, 15), (18, 16)])
def test_batches_of_arrays_must_be_shared_evenly(size, batch):
    data = rp.FitData(numbers(size), numbers(size), batch_size=batch)
    with pytest.raises(ValueError, match="3 replicas.*including the last one.*`train`"):
        prune_and_retrain(
            regression_net(),
            data,
            rp.FitRecipe(epochs=1),
            removal=rp.Removal(monitor="mae"),
            run=RunOptions(strategy=_Three()),
        )


def test_sizes_of_batches():
    for size, sizes in ((30, [15]), (18, [15, 3]), (7, [7])):
        data = rp.FitData(numbers(size), numbers(size), batch_size=15)
        assert data.splits["train"].batch_sizes() == sizes
