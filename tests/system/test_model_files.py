"""Files that declare more than they hold are refused before they are read."""

import io
import json
import pathlib
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

from resprune_cli.options import values
from resprune_tf import load_dataset, load_weights
from resprune_tf.data.readers import DataError, read_npz
from resprune_tf.system.array_files import ArrayFile
from resprune_tf.system.model_files import ModelFileError, check_whole, load_model

pytestmark = pytest.mark.slow

WEIGHTS = "model.weights.h5"
KERNEL = "layers/dense/vars/0"
MANY = 25_000_000  # values: 100 MB that no test ever reads


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small model in a file of both formats: paths of `.keras` and of `.h5`."""
    folder = tmp_path_factory.mktemp("saved")
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(3, name="dense")(image))
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(np.zeros((1, 4)), np.zeros((1, 3)))
    model.save(folder / "net.keras")
    model.compile("adam", "mse")
    model.save(folder / "net.h5")
    return folder / "net.keras", folder / "net.h5"


@pytest.fixture
def members(saved):
    """The members of the small model's file."""
    with zipfile.ZipFile(saved[0]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def changed(weights, change):
    """Bytes of an HDF5 file after a change to it."""
    buffer = io.BytesIO(weights)
    with h5py.File(buffer, "a") as file:
        change(file)
    return buffer.getvalue()


def declare(file):
    del file[KERNEL]
    file.create_dataset(KERNEL, (MANY,), "float32", chunks=(2**20,), compression="gzip")


def declare_empty(file):
    del file[KERNEL]
    file.create_dataset(KERNEL, (MANY,), "float32", chunks=(2**20,))


def declare_slot(file):
    file.create_dataset("optimizer/more", (MANY,), "float32", chunks=(2**20,))


def link(file):
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink("/etc/other.h5", "/x")


def values_elsewhere(file):
    del file[KERNEL]
    file.create_dataset(
        KERNEL, (4, 3), "float32", external=[("/tmp/other", 0, h5py.h5f.UNLIMITED)]
    )


def strings(file):
    del file[KERNEL]
    file.create_dataset(KERNEL, (4, 3), h5py.string_dtype())


def circle(file):
    file["layers/again"] = file["layers"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "change, told",
    [
        (declare, r"would take 100\.\d MB; its architecture needs 0\.0 MB"),
        (declare_empty, r"would take 100\.\d MB; its architecture needs 0\.0 MB"),
        (declare_slot, r"would take 100\.\d MB; its architecture needs 0\.0 MB"),
        (link, "link to another place"),
        (values_elsewhere, "in another file"),
        (circle, "twice"),
        (strings, "'0' among its weights contains values without a fixed size"),
    ],
)
def test_weights_take_what_the_architecture_needs(
    tmp_path, monkeypatch, members, change, told, compression
):
    members[WEIGHTS] = changed(members[WEIGHTS], change)
    path = write(tmp_path / "bomb.keras", members, compression)
    monkeypatch.setattr(keras.saving, "load_model", None)
    with pytest.raises(ModelFileError, match=f"bomb.keras' is refused: .*{told}"):
        load_model(path)


def test_a_stated_size_is_no_stored_one(tmp_path, members):
    members[WEIGHTS] = changed(members[WEIGHTS], declare)
    path = write(tmp_path / "bomb.keras", members)
    with zipfile.ZipFile(path, "a") as archive:
        member = archive.getinfo(WEIGHTS)
        member.file_size = member.compress_size = 2**30
        archive._didModify = True  # so that the sizes are written
    with pytest.raises(ModelFileError, match=r"would take 100\.\d MB"):
        load_model(path)


def test_weights_files_are_looked_at_before_they_are_read(tmp_path):
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(3, name="dense")(image))
    path = tmp_path / "net.weights.h5"
    model.save_weights(path)
    load_weights(model, path)
    with h5py.File(path, "a") as file:
        declare(file)
    with pytest.raises(ModelFileError, match=r"'dense' would take 100\.\d MB"):
        load_weights(model, path)
    with h5py.File(path, "a") as file:
        strings(file)
    with pytest.raises(ModelFileError, match="without a fixed size"):
        load_weights(model, path)


def test_compressed_weights_of_the_right_size_are_read(tmp_path, members):
    def compress(file):
        kernel = file[KERNEL][()]
        del file[KERNEL]
        file.create_dataset(KERNEL, data=kernel, chunks=True, compression="gzip")

    plain = load_model(write(tmp_path / "plain.keras", members))
    members[WEIGHTS] = changed(members[WEIGHTS], compress)
    path = write(tmp_path / "small.keras", members, zipfile.ZIP_DEFLATED)
    for a, b in zip(plain.get_weights(), load_model(path).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("config.json", 1),
        ("metadata.json", 1),
        ("assets/words.txt", 1),
        ("assets/words{}.txt", 20),  # none of them takes much alone
    ],
)
def test_members_inflate_to_no_more_than_they_may(tmp_path, members, name, count):
    for index in range(count):
        members[name.format(index)] = b" " * (40 * 2**20 // count)
    path = write(tmp_path / "bomb.keras", members, zipfile.ZIP_DEFLATED)
    told = "assets/" if name.startswith("assets/") else name
    with pytest.raises(ModelFileError, match=rf"{told} would take 41\.9 MB.*At most"):
        load_model(path)


def test_a_member_that_keras_does_not_write_is_refused(tmp_path, members):
    """Keras would unpack it to a temporary folder, whatever its size."""
    path = write(tmp_path / "more.keras", {**members, "more.bin": b"anything"})
    with pytest.raises(ModelFileError, match="refused: it contains more.bin, which"):
        load_model(path)
    members["assets/words.txt"] = b"a few words"
    load_model(write(tmp_path / "words.keras", members))


def test_a_member_may_not_lie_there_twice(tmp_path, members):
    path = write(tmp_path / "net.keras", members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelFileError, match="contains config.json twice"):
        load_model(path)


@pytest.mark.parametrize(
    "config",
    ["[]", "null", "3", "{}", '{"class_name": 3, "config": {}}', "{", "[" * 9999],
)
def test_odd_configurations_end_in_one_error(tmp_path, members, config):
    members["config.json"] = config
    with pytest.raises(ModelFileError, match="net.keras' (contains no|is not a) model"):
        load_model(write(tmp_path / "net.keras", members))


def test_damage_and_absence_are_told_apart(tmp_path, members):
    with pytest.raises(ModelFileError, match="There is no file"):
        load_model(tmp_path / "none.keras")
    for data in (b"", b"PK", b"text"):
        (tmp_path / "net.keras").write_bytes(data)
        with pytest.raises(ModelFileError, match="damaged"):
            load_model(tmp_path / "net.keras")
    del members[WEIGHTS]
    with pytest.raises(ModelFileError, match="has no model.weights.h5"):
        load_model(write(tmp_path / "net.keras", members))


def test_a_changed_byte_is_found(tmp_path, members):
    path = write(tmp_path / "net.keras", members)
    check_whole(path)
    data = path.read_bytes()
    place = data.index(members[WEIGHTS]) + 600
    path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
    with pytest.raises(ModelFileError, match="checksum of model.weights.h5 is wrong"):
        check_whole(path)


@pytest.fixture
def hdf5(saved, tmp_path):
    """The file of the small model in the older format."""
    return pathlib.Path(shutil.copy(saved[1], tmp_path))


def test_a_whole_hdf5_model_is_loaded(hdf5):
    assert load_model(hdf5, compile=False).get_layer("dense").units == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.pop("model_config"), "weights without a model"),
        (
            lambda file: file["model_weights"].create_dataset(
                "more", (MANY,), "float32", chunks=(2**20,)
            ),
            "refused: its weights would take 100.0 MB",
        ),
        (
            lambda file: file["model_weights"].update(x=h5py.SoftLink("/other")),
            "a link to another place",
        ),
        (
            lambda file: file["model_weights"].create_dataset(
                "more", (2,), h5py.string_dtype()
            ),
            "without a fixed size",
        ),
        (lambda file: file.attrs.update(model_config=["{}"]), "config is not text"),
        (lambda file: file.attrs.update(model_config="[]"), "contains no model"),
        (lambda file: file.attrs.update(model_config="{"), "or it is damaged"),
        (lambda file: file.attrs.update(model_config=3), "or it is damaged"),
    ],
)
def test_an_hdf5_model_is_looked_at_before_it_is_read(hdf5, change, message):
    with h5py.File(hdf5, "a") as file:
        change(file)
    with pytest.raises(ModelFileError, match=message):
        load_model(hdf5, compile=False)


def test_models_of_keras_2_come_with_advice(tmp_path, members):
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["option_of_keras_2"] = True
    members["config.json"] = json.dumps(config)
    members["metadata.json"] = '{"keras_version": "2.15.0"}'
    path = write(tmp_path / "net.keras", members)
    with pytest.raises(
        ModelFileError, match=r"by Keras 2\.15\.0.*pip install tf_keras"
    ):
        load_model(path)
    for name in ("net.weights.h5", "net.json"):
        with pytest.raises(values.argparse.ArgumentTypeError, match="tf_keras"):
            values.model_path(name)


def npz(path, **arrays):
    """An archive whose arrays are given as the bytes of their `.npy` files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(array, shape=None):
    """Bytes of an `.npy` file, whose header may state another shape."""
    buffer = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False}
    np.lib.format.write_array_header_1_0(
        buffer, {**header, "shape": shape or array.shape}
    )
    return buffer.getvalue() + array.tobytes()


def test_arrays_hold_what_their_headers_state(tmp_path, monkeypatch):
    monkeypatch.setattr(np.lib.format, "read_array", None)
    pixels = np.zeros((2, 8, 8), "uint8")
    path = npz(tmp_path / "a.npz", x_train=npy(pixels, (10**9, 8, 8)))
    with pytest.raises(ValueError, match="'x_train' is truncated: 128 of 64,000,"):
        ArrayFile(path).__enter__()
    with pytest.raises(DataError, match="Cannot read .*truncated"):
        load_dataset(path)


def test_only_arrays_that_fit_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(np.lib.format, "read_array", None)
    good = {"x": npy(np.zeros((4, 8, 8), "uint8")), "y": npy(np.arange(4))}
    wrong = npy(np.zeros((4, 8, 8), "float32"))
    arrays = {f"{k}_{s}": v for s in ("train", "test") for k, v in good.items()}
    path = npz(tmp_path / "a.npz", **{**arrays, "x_test": wrong})
    with pytest.raises(DataError, match="x_test must be uint8"):
        load_dataset(path)
    monkeypatch.setattr("resprune_tf.data.readers.machine_bytes", lambda: 500)
    path = npz(tmp_path / "b.npz", **arrays)
    with pytest.raises(DataError, match="would take .* this machine has"):
        load_dataset(path)


def test_what_has_no_known_name_is_not_read(tmp_path):
    good = {"x": npy(np.zeros((4, 8, 8), "uint8")), "y": npy(np.arange(4))}
    arrays = {f"{k}_{s}": v for s in ("train", "test") for k, v in good.items()}
    monster = npy(np.zeros(0), (0, 10**15))
    path = npz(tmp_path / "a.npz", **arrays, monster=monster)
    assert len(read_npz(path).x_train) == 4


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_damage_of_a_compressed_member_is_named(members, name, tmp_path):
    """Every byte in turn of its beginning: `zlib` has an error of its own kind."""
    path = write(tmp_path / "net.keras", members, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo(name).header_offset + 30 + len(name)
    whole = path.read_bytes()
    for place in range(first, first + 20):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        )
        for read in (check_whole, load_model):
            with pytest.raises(ModelFileError, match="damaged"):
                read(path)
