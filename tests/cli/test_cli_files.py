"""The command line reads models and data of others, and runs none of their code."""

import argparse
import json
import sys
import zipfile
from unittest import mock

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from resprune_cli.options.usage import WrongUse
from resprune_cli.work import data_files, data_source, measuring, memory, model_file
from resprune_tf.system.advice import for_commands
from tests.conftest import net_of, outputs
from tests.made.cli import (
    besides_progress,
    brightness_net,
    eager,
    examples,
    plain_net,
    resprune,
    resprune_json,
    write_npz,
)

pytestmark = pytest.mark.slow

TRUST = argparse.Namespace(imports=[], allow_lambda=False, input_shape=None)


def options(data, **others):
    """Arguments of `add_data_options` and `add_loss_options`."""
    return argparse.Namespace(
        **{
            "data": str(data),
            "data_dir": None,
            "pixels": "raw",
            "resize": "stretch",
            "hold_out": 0.1,
            "examples": None,
            "seed": 0,
            "loss": None,
            "metric": None,
            "batch_size": 32,
            "json": False,
            **others,
        }
    )


@pytest.fixture(scope="module")
def net():
    """A net of which data are read. No test may compile it anew."""
    return plain_net()


def classifier():
    """The least that tells three classes of `examples` apart."""
    net = net_of((8, 8, 1), layers.Flatten(), layers.Dense(3, "softmax"))
    net.compile("sgd", "sparse_categorical_crossentropy")
    return net


def saved(net, path):
    net.save(path)
    return path


# Models


def test_a_model_comes_with_its_compile_settings_where_they_are_asked_for(tmp_path):
    path = saved(classifier(), tmp_path / "net.keras")
    assert not model_file.load(path, TRUST).compiled
    net = model_file.load(path, TRUST, compile=True)
    assert net.loss == "sparse_categorical_crossentropy"


def test_a_loss_that_is_unknown_here_leaves_the_net(tmp_path, capsys):
    @keras.saving.register_keras_serializable(package="mine")
    def steep(labels, outputs):
        return keras.ops.sum(outputs, axis=-1)

    net = classifier()
    net.compile("sgd", steep)
    path = saved(net, tmp_path / "net.keras")
    del keras.saving.get_custom_objects()["mine>steep"]
    loaded = model_file.load(path, TRUST, compile=True)
    assert not loaded.compiled
    assert "cannot be restored" in capsys.readouterr().err
    images = examples(4)[0][..., None]
    np.testing.assert_array_equal(outputs(loaded, images), outputs(net, images))


def test_a_lambda_is_refused_unless_allowed(tmp_path, capsys):
    net = net_of((2,), layers.Lambda(lambda x: x + 1, name="plus"))
    path = saved(net, tmp_path / "net.keras")
    code, _, err = resprune(capsys, "inspect", path)
    assert code == 2
    assert "Lambda layer, whose code is stored in the file" in err
    code, out, _ = resprune(capsys, "inspect", path, "--allow-lambda")
    assert code == 0
    assert "has no residual unit" in out


REGISTERED = "@keras.saving.register_keras_serializable('cli')"


@pytest.mark.parametrize(
    "decorator, last",
    # Keras stores no module of a class that was defined in a script.
    [("", ""), (REGISTERED, ""), (REGISTERED, "Twice.__module__ = '__main__'")],
)
def test_a_layer_of_ones_own_needs_its_module(
    decorator, last, tmp_path, capsys, monkeypatch
):
    (tmp_path / "my_layers.py").write_text(
        "import keras\n"
        f"{decorator}\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
        f"{last}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    known = dict(keras.saving.get_custom_objects())

    def forget():
        sys.modules.pop("my_layers", None)
        keras.saving.get_custom_objects().clear()
        keras.saving.get_custom_objects().update(known)

    try:
        from my_layers import Twice

        saved(net_of((2,), Twice(name="twice")), tmp_path / "net.keras")
        forget()
        code, _, err = resprune(capsys, "inspect", "net.keras")
        assert code == 2
        assert "custom layers: Twice" in err and "--import MODULE" in err
        code, _, err = resprune(capsys, "inspect", "net.keras", "--import", "bisect")
        assert code == 2
        assert "no imported module defines Twice" in err
        code, _, err = resprune(capsys, "inspect", "net.keras", "--import", "my_layers")
        assert code == 0
        assert besides_progress(err) == ["Importing my_layers. Its code runs."]
    finally:
        forget()
    code, _, err = resprune(capsys, "inspect", "net.keras", "--import", "nowhere_at")
    assert code == 2
    assert "--import nowhere_at failed: ModuleNotFoundError" in err


def test_what_is_no_model_is_told(tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(b"no archive")
    with pytest.raises(
        WrongUse, match=r"not a model file as written by model.save\('model.keras'\)"
    ):
        model_file.load(path, TRUST)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Functional", "config": {}}')
    with pytest.raises(WrongUse, match="cannot be loaded"):
        model_file.load(path, TRUST)


@pytest.mark.parametrize(
    "config, told",
    [
        ([], "contains no model"),
        ({"class_name": "Functional", "config": []}, "contains no model"),
        ({"class_name": ["a"], "registered_name": None, "config": {}}, "no model"),
        (
            {"class_name": "A", "module": 3, "registered_name": "A", "config": {}},
            "must be named by strings",
        ),
        (
            {
                "class_name": "Functional",
                "config": {"layers": [{"class_name": {}, "registered_name": "A"}]},
            },
            "must be named by strings",
        ),
    ],
)
def test_odd_configurations_are_no_models(tmp_path, config, told):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(WrongUse, match=told):
        model_file.load(path, TRUST)


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet")
def test_a_model_without_a_graph_says_how_it_comes_by_one(tmp_path):
    net = keras.Sequential([layers.Dense(2)])
    path = saved(net, tmp_path / "net.keras")
    with pytest.raises(
        WrongUse, match="contains a Sequential without a graph .* Build"
    ):
        model_file.load(path, TRUST)


def test_importances_become_constants(tmp_path):
    from resprune_tf import add_importance, importances

    net = add_importance(plain_net(), value=0.3)
    plain = model_file.without_importances(net)
    assert not importances(plain)
    images = examples(6)[0][..., None]
    np.testing.assert_array_equal(outputs(plain, images), outputs(net, images))
    assert len(plain.trainable_variables) == len(net.trainable_variables) - 3


@pytest.mark.filterwarnings("ignore:.*HDF5 file")
def test_whole_models_in_the_older_format_are_taken(tmp_path, capsys):
    """Without running what is stored in one, as for the newer format."""
    saved(brightness_net(), tmp_path / "net.h5")
    told = resprune_json(capsys, "inspect", tmp_path / "net.h5")
    assert [unit["name"] for unit in told["units"]] == ["unit1", "unit2"]
    net = net_of((2,), layers.Lambda(lambda x: x + 1, name="plus"))
    path = saved(net, tmp_path / "lambda.h5")
    code, _, err = resprune(capsys, "inspect", path)
    assert code == 2 and "Lambda layer, whose code is stored in the file" in err
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
    code, _, err = resprune(capsys, "inspect", path)
    assert code == 2 and "contains weights without a model" in err


# Data


def test_held_out_examples_are_the_same_each_time_and_of_all_classes(tmp_path, net):
    path = write_npz(tmp_path / "data.npz")
    data = data_source.read(options(path, hold_out=0.2), net)
    again = data_source.read(options(path, hold_out=0.2), net)
    other = data_source.read(options(path, hold_out=0.2, seed=1), net)
    x, y = data.splits["validation"]
    assert x.shape == (12, 8, 8, 1) and len(data.splits["train"][0]) == 48
    assert np.bincount(y).tolist() == [4, 4, 4]
    np.testing.assert_array_equal(x, again.splits["validation"][0])
    assert (x != other.splits["validation"][0]).any()
    together = np.concatenate([data.splits[s][0] for s in ("train", "validation")])
    assert sorted(map(bytes, together)) == sorted(map(bytes, examples()[0]))
    assert data.held_out == "validation"
    assert data.divided and (
        "48 train, 12 validation examples (validation held out from train with seed 0)"
        in data.description
    )


@pytest.mark.parametrize("form", ["one-hot", "float"])
def test_classes_in_other_forms_are_held_out_in_proportion(form, tmp_path, net):
    x, y = examples()
    labels = np.eye(3)[y] if form == "one-hot" else y.astype("float32")
    path = write_npz(tmp_path / "data.npz", x=x, y=labels)
    data = data_source.read(options(path, hold_out=0.2), net)
    held_out = data.splits["validation"][1]
    assert held_out.dtype == labels.dtype and data.of_classes
    held_out = held_out.argmax(1) if form == "one-hot" else held_out.astype(int)
    assert np.bincount(held_out).tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0.5, 1]),
        np.array([[1, 1], [0, 1]]),
        np.array(["a", "b"]),
        np.eye(3) * 2,
    ],
)
def test_labels_that_tell_no_classes(labels):
    assert data_source.classes_of(labels) is None


def test_splits_of_an_archive_are_kept(tmp_path, net):
    (x, y), (x_test, y_test) = examples(12), examples(6, seed=1)
    path = write_npz(
        tmp_path / "data.npz",
        x_train=x,
        y_train=y[:, None],
        x_val=x_test,
        y_val=y_test,
        x_test=x_test,
        y_test=y_test,
    )
    data = data_source.read(options(path), net)
    np.testing.assert_array_equal(data.splits["train"][0], x[..., None])
    np.testing.assert_array_equal(data.splits["train"][1], y)
    np.testing.assert_array_equal(data.splits["test"][1], y_test)
    assert data.held_out == "test" and "held out" not in data.description


def test_names_of_arrays_may_be_in_capitals(tmp_path, net):
    images, labels = examples(10)
    path = write_npz(
        tmp_path / "data.npz", X_train=images, Y_Train=labels, x=images[:5]
    )
    with pytest.raises(WrongUse, match="x has 5 examples, but Y_Train has 10"):
        data_source.read(options(path), net)
    path = write_npz(tmp_path / "data.npz", X=images, Y=labels, y=labels[::-1])
    data = data_source.read(options(path, hold_out=0.1), net)
    together = np.concatenate([data.splits[s][1] for s in ("train", "validation")])
    assert sorted(together) == sorted(labels)
    rows = {bytes(image): label for image, label in zip(images, labels, strict=True)}
    x, y = data.splits["train"]
    assert [rows[bytes(image)] for image in x] != y.tolist()  # y comes before Y


@pytest.mark.parametrize(
    "pixels, low, high", [("raw", 0, 255), ("unit", 0, 1), ("signed", -1, 1)]
)
def test_pixels_are_brought_to_what_the_model_takes(pixels, low, high, tmp_path):
    x = np.linspace(0, 255, 4 * 64).reshape(4, 8, 8).astype("uint8")
    path = write_npz(tmp_path / "data.npz", images=x)
    args = options(path, pixels=pixels, hold_out=0.5)
    data = data_source.read(args, net_of((8, 8, 1), layers.Flatten()))
    both = np.concatenate([pair[0] for pair in data.splits.values()])
    assert (both.min(), both.max()) == (low, high)
    assert not data.labelled


@pytest.mark.parametrize(
    "pixels, application, mode",
    [
        ("caffe", "resnet", "caffe"),
        ("caffe", "vgg16", "caffe"),
        ("torch", "densenet", "torch"),
        ("signed", "resnet_v2", "tf"),
        ("raw", "efficientnet", None),
    ],
)
def test_pixels_are_those_of_keras_applications(pixels, application, mode, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype("uint8")
    path = write_npz(tmp_path / "data.npz", x=x, x_val=x, x_test=x[:2])
    data = data_source.read(
        options(path, pixels=pixels), net_of((8, 8, 3), layers.Flatten())
    )
    found, _ = data.splits["train"]
    module = getattr(keras.applications, application)
    np.testing.assert_array_equal(found, module.preprocess_input(x.astype("float32")))
    if mode is not None:
        utils = keras.applications.imagenet_utils
        expected = utils.preprocess_input(x.astype("float32"), mode=mode)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == "float32" and found.flags.c_contiguous
    assert x[0, 0, 0].tolist() == np.load(path)["x"][0, 0, 0].tolist()


@pytest.mark.parametrize("pixels", ["caffe", "torch"])
def test_means_of_colours_need_colours(pixels, tmp_path, net):
    path = write_npz(tmp_path / "data.npz")
    with pytest.raises(WrongUse, match="3 channels.* are 8x8x1.*raw, unit, signed"):
        data_source.read(options(path, pixels=pixels), net)


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            {"a": np.ones(3)},
            "contains a. The array of examples must be named x or images or",
        ),
        ({"x": np.ones((4, 9, 9))}, "expects examples of 8x8x1, .* 9x9"),
        ({"x": np.ones((4, 8, 8)), "y": np.ones(3)}, "x has 4 examples, but y has 3"),
        ({"x": np.ones((0, 8, 8))}, "x is empty"),
        ({"x": np.ones((1, 8, 8))}, "1 example, too few"),
        ({"x": np.array([{}, {}])}, "Object arrays cannot be loaded"),
        ({"x": np.array(["a", "b"])}, "must be numbers"),
        (
            {"x": np.ones((4, 8, 8)), "y": np.ones(4), "x_val": np.ones((4, 8, 8))},
            "no array named y_val",
        ),
    ],
)
def test_archives_that_do_not_fit(arrays, message, tmp_path, net):
    path = write_npz(tmp_path / "data.npz", **arrays)
    with pytest.raises(WrongUse, match=message):
        data_source.read(options(path), net)


@pytest.mark.parametrize(
    "name, told",
    [("x", "x has 3 values .* in 2 of its 4 ex"), ("y_test", "y_test has 1")],
)
def test_numbers_that_are_none_are_refused(name, told, tmp_path, net):
    arrays = {each: np.ones((4, 8, 8), "float32") for each in ("x", "x_test")}
    arrays.update(y=np.ones(4, "float32"), y_test=np.ones(4, "float32"))
    arrays[name].reshape(4, -1)[1, -2 if name == "x" else 0 :] = np.nan
    if name == "x":
        arrays["x"][3, 0, 0] = np.inf
    path = write_npz(tmp_path / "data.npz", **arrays)
    with pytest.raises(WrongUse, match=told):
        data_source.read(options(path), net)


def test_pixels_are_not_scaled_twice(tmp_path, net):
    x = np.linspace(0, 255, 4 * 64).reshape(4, 8, 8)
    path = write_npz(tmp_path / "bytes.npz", x=x.astype("uint8"))
    with pytest.raises(WrongUse, match=r"\(--pixels\).*too small for 'plain'"):
        data_source.read(options(path, pixels="unit"), net)
    path = write_npz(tmp_path / "floats.npz", x=(x / 255).astype("float32"))
    with pytest.raises(WrongUse, match="too small for 'plain'.*by 255"):
        data_source.read(options(path), net)
    path = write_npz(tmp_path / "cast.npz", x=(x / 255 + 0.5).astype("uint8"))
    with pytest.raises(WrongUse, match="only 0 and 1"):
        data_source.read(options(path, pixels="unit"), classifier())


def test_advice_on_the_range_of_pixels_names_the_option(tmp_path, net):
    x = np.linspace(0, 255, 4 * 64).reshape(4, 8, 8).astype("uint8")
    path = write_npz(tmp_path / "bytes.npz", x=x)
    with for_commands():
        with pytest.raises(WrongUse, match="by 255, by --pixels raw if they are"):
            data_source.read(options(path, pixels="unit"), net)
        image = keras.Input((8, 8, 1))
        other = keras.Model(image, layers.Rescaling(2.0, offset=-1)(image))
        with pytest.raises(WrongUse, match="by --pixels unit or --pixels signed if"):
            data_source.read(options(path), other)


def test_floats_have_their_range_already(tmp_path, net):
    path = write_npz(tmp_path / "data.npz", x=np.ones((4, 8, 8), "float32"))
    with pytest.raises(WrongUse, match="is for pixels from 0 to 255"):
        data_source.read(options(path, pixels="unit"), net)


def test_fewer_examples_are_a_random_choice(tmp_path, net):
    path = write_npz(tmp_path / "data.npz")
    data = data_source.read(options(path, examples=20), net)
    assert len(data.splits["train"][0]) == 20


def test_digits_are_built_in(net):
    data = data_source.read(options("digits"), net)
    assert [len(x) for x, _ in data.splits.values()] == [1077, 360, 360]


def write_images(folder, seed=0):
    images, labels = examples(9, seed)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "abc"[label]
        place.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(place / f"{index}.png", image[..., None], scale=False)
    return images, labels


def test_a_folder_of_images_by_class(tmp_path, net):
    images, labels = write_images(tmp_path / "photos")
    order = np.argsort(labels, kind="stable")
    args = options(tmp_path / "photos", hold_out=0.34)
    data = data_source.read(args, net)
    together = [
        np.concatenate([data.splits[s][i] for s in ("train", "validation")])
        for i in (0, 1)
    ]
    np.testing.assert_array_equal(np.sort(together[1]), labels[order])
    assert sorted(map(bytes, together[0])) == sorted(map(bytes, images))


def test_of_a_folder_no_more_images_are_read_than_are_used(tmp_path, net):
    images, labels = write_images(tmp_path / "photos")
    chosen = []
    taken = data_files.ImageFiles.__getitem__

    def noted(files, rows):
        chosen.extend(rows)
        return taken(files, rows)

    args = options(tmp_path / "photos", hold_out=0.34, examples=2)
    with mock.patch.object(data_files.ImageFiles, "__getitem__", noted):
        data = data_source.read(args, net)
    assert len(set(chosen)) == 4
    found = {bytes(image): label for image, label in zip(images, labels, strict=True)}
    for x, y in data.splits.values():
        assert [found[bytes(image)] for image in x] == y.tolist()


def test_crop_halves_an_image_exactly():
    """14x16 pixels of 2x2 blocks: 8x9 after scaling, of which 7x7 are the centre."""
    blocks = np.random.default_rng(0).integers(0, 256, (8, 9, 1)).astype("uint8")
    image = blocks.repeat(2, axis=0).repeat(2, axis=1)
    found = data_files.resized(keras.ops.convert_to_tensor(image), 7, 7, "crop").numpy()
    # Antialiased by a triangle of radius 2: pixels -1, 0, 1 and 2 weigh 1, 3, 3 and 1.
    weights = np.zeros((2, 9, 18))
    for axis, count in enumerate((8, 9)):
        for place in range(count):
            for step, weight in zip((-1, 0, 1, 2), (1, 3, 3, 1), strict=True):
                if 0 <= 2 * place + step < 2 * count:
                    weights[axis, place, 2 * place + step] = weight
    weights = [
        each / each.sum(1, keepdims=True)
        for each in (weights[0, :8, :16], weights[1, :9, :18])
    ]
    whole = weights[0] @ image[..., 0] @ weights[1].T
    np.testing.assert_allclose(found[..., 0], whole[:7, 1:8], atol=0.501)
    assert found.dtype == "uint8"


@pytest.mark.parametrize(
    "given, wanted, whole",
    [
        ((500, 375), (224, 224), (341, 256)),
        ((60, 90), (32, 32), (36, 54)),
        ((20, 8), (32, 32), (90, 36)),  # enlarged
        ((8, 8), (8, 8), (9, 9)),
        ((40, 90), (14, 28), (16, 36)),
        ((90, 40), (14, 28), (72, 32)),
        ((1, 3000), (7, 7), (8, 24000)),
    ],
)
def test_crop_is_the_centre_of_the_image_scaled_as_a_whole(given, wanted, whole):
    tf = pytest.importorskip("tensorflow")
    image = np.random.default_rng(0).integers(0, 256, (*given, 3)).astype("uint8")
    image = tf.constant(image)
    scaled = tf.image.resize(image, whole, antialias=True)
    top, left = ((a - b) // 2 for a, b in zip(whole, wanted, strict=True))
    expected = scaled[top : top + wanted[0], left : left + wanted[1]]
    found = data_files.resized(image, *wanted, "crop")
    assert found.dtype == tf.uint8 and found.shape == (*wanted, 3)
    np.testing.assert_allclose(found, expected, atol=0.51)
    floats = data_files.resized(tf.cast(image, tf.float32) / 255, *wanted, "crop")
    np.testing.assert_allclose(floats, expected / 255, atol=1e-4)


def test_images_of_a_folder_are_cropped(tmp_path, net):
    image = np.zeros((9, 27, 1), "uint8")
    image[:, 9:18] = 200  # 8x8 of it are left: the image already covers 9x9
    for name in "abc":
        (tmp_path / name).mkdir()
        keras.utils.save_img(tmp_path / name / "0.png", image, scale=False)
    for resize, values in (("crop", {200}), ("stretch", {0, 200})):
        data = data_source.read(options(tmp_path, resize=resize), net)
        assert set(np.unique(data.splits["train"][0])) == values


def test_images_larger_than_memory_are_refused_unread(tmp_path, monkeypatch, net):
    write_images(tmp_path)
    monkeypatch.setattr(memory, "machine_bytes", lambda: 9 * 64)
    data_source.read(options(tmp_path), net)
    with pytest.raises(WrongUse, match="--examples N to read only N"):
        data_source.read(options(tmp_path, pixels="unit"), net)


def test_archives_larger_than_memory_are_refused_unread(tmp_path, monkeypatch, net):
    path = write_npz(tmp_path / "data.npz", x=np.zeros((9, 8, 8)), other=np.zeros(9999))
    monkeypatch.setattr(memory, "machine_bytes", lambda: 9 * 8 * 64 + 128)
    data_source.read(options(path), net)
    monkeypatch.setattr(memory, "machine_bytes", lambda: 9 * 8 * 64)
    with pytest.raises(WrongUse, match="data.npz needs 0.0 GB of memory"):
        data_source.read(options(path), net)


def test_an_image_that_is_none_is_named(tmp_path, net):
    write_images(tmp_path)
    (tmp_path / "b" / "0.png").write_text("no image")
    with pytest.raises(WrongUse, match="Cannot read the image '.*b/0.png'"):
        data_source.read(options(tmp_path), net)


def test_folders_may_be_divided_already(tmp_path, net):
    images, labels = write_images(tmp_path / "train")
    write_images(tmp_path / "val", seed=1)
    data = data_source.read(options(tmp_path), net)
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(data.splits["train"][0][..., 0], images[order])
    assert len(data.splits["validation"][0]) == 9


COLOURS = ("blue", "green", "red")


def write_colours(folder, *names, count=1):
    """Images of one brightness per class, as `brightness_net` expects: 30, 110, 190."""
    for name in names:
        (folder / name).mkdir(parents=True)
        image = np.full((8, 8, 1), 30 + 80 * COLOURS.index(name), "uint8")
        for index in range(count):
            keras.utils.save_img(folder / name / f"{index}.png", image, scale=False)


def test_splits_of_a_folder_have_the_classes_of_train(tmp_path, net):
    write_colours(tmp_path / "train", *COLOURS, count=2)
    write_colours(tmp_path / "val", "green", "red")
    write_colours(tmp_path / "test", "red")
    (tmp_path / ".cache" / "blue").mkdir(parents=True)
    (tmp_path / "val" / ".cache").mkdir()
    data = data_source.read(options(tmp_path), net)
    assert {name: y.tolist() for name, (_, y) in data.splits.items()} == {
        "train": [0, 0, 1, 1, 2, 2],
        "validation": [1, 2],
        "test": [2],
    }
    assert data.class_names == COLOURS
    assert (
        "test examples; 3 class folders, blue (0) to red (2); inp" in data.description
    )


def test_an_empty_folder_in_train_keeps_the_number_of_its_class(tmp_path, net, capsys):
    write_colours(tmp_path / "train", "blue", "red")
    write_colours(tmp_path / "test", "green")
    with pytest.raises(WrongUse, match="test' contains .* not contain: green.*/green'"):
        data_source.read(options(tmp_path), net)
    (tmp_path / "train" / "green").mkdir()
    data = data_source.read(options(tmp_path, hold_out=0.5), net)
    assert data.splits["test"][1].tolist() == [1]
    assert {*data.splits["train"][1], *data.splits["validation"][1]} == {0, 2}
    assert capsys.readouterr().out == ""


def test_accuracy_on_a_split_that_lacks_classes(tmp_path, capsys):
    write_colours(tmp_path / "col" / "train", *COLOURS)
    write_colours(tmp_path / "col" / "val", "green", "red")
    path = saved(eager(brightness_net()), tmp_path / "net.keras")
    argv = ["compare", path, path, "--data", tmp_path / "col", "--runtime", "none"]
    found = resprune_json(capsys, *argv)
    assert found["a"]["validation accuracy"] == 1
    assert "; 3 class folders, blue (0) to red (2);" in found["data"]


@pytest.mark.parametrize(
    "folders, message",
    [
        (["val/red", "test/red"], "contains test, val, but no .*--data '.*/test'"),
        (["train/red", "val/red", "extra/red"], "and other folders: extra. Keep only"),
        (["train/red", "val/red", "validation/red"], "both validation and val, "),
        (["train/red", *(f"val/{c}" for c in "gfedcba")], "a, b, c, d, e and 2 more"),
    ],
)
def test_folders_whose_classes_are_not_clear_are_refused(
    folders, message, tmp_path, net
):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(WrongUse, match=message):
        data_source.read(options(tmp_path), net)


def test_folders_named_like_splits_may_be_classes(tmp_path, net, capsys):
    image = np.zeros((8, 8, 1), "uint8")
    for name in ("bus", "train", "test"):
        (tmp_path / name).mkdir()
        keras.utils.save_img(tmp_path / name / "0.png", image, scale=False)
    assert data_source.read(options(tmp_path), net).class_names == (
        "bus",
        "test",
        "train",
    )


def binary_net(activation="sigmoid"):
    return net_of((8, 8, 1), layers.Flatten(), layers.Dense(1, activation=activation))


@pytest.mark.parametrize(
    "make, names, message",
    [
        (binary_net, "ab", None),
        (
            binary_net,
            "abc",
            "3 class folders, a (0) to c (2), but '{}' distinguishes 2",
        ),
        (lambda: binary_net("relu"), "abc", None),  # a regression
        (classifier, "abcd", "has 4 class folders, a (0) to d (3), but '{}' distin"),
        (classifier, "abc", None),
    ],
)
def test_more_classes_than_outputs_are_refused_unread(make, names, message, tmp_path):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_text("no image")
    net = make()
    with pytest.raises(WrongUse) as caught:
        data_source.read(options(tmp_path), net)
    expected = message.format(net.name) if message else "Cannot read the image"
    assert expected in str(caught.value)


@pytest.mark.parametrize("json", [False, True])
def test_fewer_classes_than_outputs_are_one_warning(json, tmp_path, net, capsys):
    write_colours(tmp_path, "green", "red")
    data = data_source.read(options(tmp_path, json=json), net)
    assert "; 2 class folders, green (0) to red (1);" in data.description
    out, err = capsys.readouterr()
    (line,) = (err if json else out).splitlines()
    assert "2 class folders, green (0) to red (1), but 'plain' distinguishes 3" in line
    assert "add an empty folder for each class that is missing" in line
    assert not json or out == ""


def test_folders_that_do_not_fit(tmp_path, net):
    with pytest.raises(WrongUse, match="one folder of images per class"):
        data_source.read(options(tmp_path), net)
    with pytest.raises(
        WrongUse, match="images of a fixed size. The inputs of this model are 2"
    ):
        data_source.read(options(tmp_path), net_of((2,), layers.Dense(1)))


def test_what_tensorflow_datasets_does_not_have_is_not_downloaded(tmp_path, net):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(WrongUse, match="cannot read 'mnist' .* downloads nothing"):
        data_source.read(options("mnist", data_dir=str(tmp_path)), net)


def test_models_of_several_inputs_are_refused(tmp_path):
    pair = [keras.Input((2,)), keras.Input((2,))]
    net = keras.Model(pair, layers.Add()(pair))
    with pytest.raises(WrongUse, match="has 2 inputs"):
        data_source.read(options("digits"), net)


# Loss and labels


@pytest.mark.parametrize(
    "activation, logits", [(None, True), ("softmax", False), ("relu", True)]
)
def test_classes_are_measured_by_cross_entropy(activation, logits):
    x, y = examples(6)
    net = net_of((8, 8, 1), layers.Flatten(), layers.Dense(3, activation=activation))
    data = data_source.Data({"train": (x[..., None], y)}, "")
    measuring.compile_for_labels(net, data, options(""))
    assert net.loss.get_config()["from_logits"] is logits
    assert measuring.full_loss_name(net) == "sparse_categorical_crossentropy"


@pytest.mark.parametrize("metric", [None, "accuracy", "binary_accuracy"])
def test_a_binary_logit_above_0_is_the_second_class(metric):
    """Keras compares it with 0.5, which is for probabilities."""
    net = net_of((1,), layers.Dense(1, use_bias=False, kernel_initializer="ones"))
    x, y = np.array([[-3.0], [-0.2], [0.2], [0.3]]), np.array([0, 0, 1, 1])
    data = data_source.Data({"train": (x, y)}, "")
    (split,) = measuring.compile_for_labels(
        net, data, options("", metric=metric)
    ).values()
    again = keras.models.clone_model(net)
    again.set_weights(net.get_weights())
    model_file.compiled_as(again, net)  # as in a run
    for each in (net, again):
        assert measuring.evaluate(each, *split, 4)[metric or "accuracy"] == 1.0


def test_labels_take_the_form_of_the_loss():
    x, y = examples(6)
    rows = np.eye(3)[y]
    net = classifier()
    one_hot = data_source.Data({"train": (x[..., None], rows)}, "")
    np.testing.assert_array_equal(
        measuring.compile_for_labels(net, one_hot, options(""))["train"][1], y
    )
    net.compile("sgd", "categorical_crossentropy")
    whole = data_source.Data({"train": (x[..., None], y)}, "")
    np.testing.assert_array_equal(
        measuring.compile_for_labels(net, whole, options(""))["train"][1], rows
    )


@pytest.mark.parametrize(
    "labels, given, message",
    [
        (None, {}, "The data have no labels"),
        (np.arange(6), {}, "3 classes, 0 to 2, but the labels range from 0 to 5"),
        (np.linspace(0, 1, 6), {"loss": None}, "Labels must be class numbers"),
        (np.full((6, 3), 1 / 3), {}, r"one-hot rows. Received: rows such as \[0.33"),
        (np.ones((6, 3), int), {}, r"such as \[1, 1, 1\].*--loss binary_cross"),
        (np.eye(5)[:, [0, 1, 2, 3, 4, 0]].T, {}, r"shape \(6, 5\) and.*\(None, 3\)"),
        (np.ones((6, 1)), {"loss": "mse"}, r"shape \(6, 1\) and.*\(None, 3\)"),
        (np.arange(6) % 3, {"loss": "far"}, "Keras has no loss 'far'"),
        (np.arange(6) % 3, {"metric": "far"}, "far"),
        (np.arange(6) % 3, {"optimizer": "far"}, "far"),
    ],
)
def test_labels_and_names_that_do_not_fit(labels, given, message):
    data = data_source.Data({"train": (examples(6)[0][..., None], labels)}, "")
    with pytest.raises(WrongUse, match=message):
        measuring.compile_for_labels(classifier(), data, options("", **given))


def test_a_loss_that_cannot_be_guessed_is_asked_for():
    data = data_source.Data({"train": (np.ones((4, 2)), np.linspace(0, 1, 4))}, "")
    net = net_of((2,), layers.Dense(1))
    with pytest.raises(WrongUse, match="Give --loss, such as mean_squared_error"):
        measuring.compile_for_labels(net, data, options(""))
    measuring.compile_for_labels(net, data, options("", loss="mean_squared_error"))
    assert measuring.full_loss_name(net) == "mean_squared_error"
    assert measuring.monitored(["loss"]) == "loss"


@pytest.mark.parametrize(
    "given, loss, metrics, optimizer",
    [
        ({"optimizer": "adam"}, "mean_squared_error", ["mae"], "adam"),
        ({"metric": "mse"}, "mean_squared_error", ["mse"], "sgd"),
        ({"loss": "mae"}, "mean_absolute_error", [], "sgd"),
        ({}, "mean_squared_error", ["mae"], "sgd"),
    ],
)
def test_an_option_replaces_only_its_own_compile_setting(
    given, loss, metrics, optimizer
):
    x, y = np.ones((4, 2)), np.linspace(0, 1, 4)
    net = net_of((2,), layers.Dense(1))
    net.compile(keras.optimizers.SGD(0.25), "mse", metrics=["mae"])
    data = data_source.Data({"train": (x, y)}, "")
    splits = measuring.compile_for_labels(net, data, options("", **given))
    assert measuring.full_loss_name(net) == loss
    assert net.optimizer.name == optimizer
    assert optimizer != "sgd" or float(net.optimizer.learning_rate) == 0.25
    measured = measuring.evaluate(net, *splits["train"], 4)
    assert list(measured) == ["loss", *metrics]


def test_what_is_watched():
    assert measuring.monitored(["loss", "mae", "accuracy"]) == "accuracy"
    assert measuring.monitored(["loss", "mae"]) == "mae"
    assert measuring.monitored(["loss", "mae"], "loss") == "loss"
    with pytest.raises(WrongUse, match="--monitor 'auc' is not measured"):
        measuring.monitored(["loss", "mae"], "auc")


@pytest.mark.parametrize(
    "accuracy, examples, loss, doubted",
    [
        (0.3, 60, 1.0, True),
        (0.43, 60, 1.0, True),
        (0.43, 6000, 1.0, True),  # the share of a class that is more frequent
        (0.45, 60, 1.0, False),
        (0.45, 20, 1.0, True),  # 9 of 20: by chance with a probability of 19 %
        (0.45, 20, 1.2, True),  # worse than shares of a third each, log(3)
        (0.45, 60, 1.2, False),  # that is no chance, whatever the loss
        (0.5, 60, 9.0, False),  # too sure of itself, but right more often than that
        (0.5, 60, 90.0, True),  # as if the pixels were 255 times too large
        (0.9, 60, 90.0, False),
        (1.0, 1, 9.0, False),
        (0.0, 60, 1.0, True),
        (None, 60, 9.0, False),
    ],
)
def test_a_classifier_that_guesses_is_doubted(accuracy, examples, loss, doubted, net):
    measured = {"loss": loss}
    if accuracy is not None:
        measured["accuracy"] = accuracy
    found = measuring.guessing_warning(net, measured, examples)
    assert bool(found) is doubted
    assert not doubted or "1 in 3" in found and "--pixels" in found
    assert ("guessing gives 1.1" in (found or "")) is (doubted and loss > 1.1)


def test_an_enormous_loss_is_doubted_without_an_accuracy(net):
    found = measuring.guessing(net, {"loss": 90.0}, 60)
    assert found == "The loss is 90, and guessing gives 1.1."


@pytest.fixture(scope="module")
def of_1000():
    image = keras.Input((2,))
    net = keras.Model(image, keras.layers.Dense(1000, activation="softmax")(image))
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def test_one_of_eight_correct_examples_is_better_than_one_of_1000(of_1000):
    measured = {"loss": 6.9079, "accuracy": 0.125}
    assert measuring.guessing(of_1000, measured, 8) is None
    assert measuring.guessing(of_1000, {**measured, "accuracy": 0.0}, 8) == (
        "The accuracy is 0.00%, and guessing gives 1 in 1000 (p = 1 on 8 examples); "
        "the loss is 6.9079, and guessing gives 6.9078."
    )


def test_the_p_value_of_an_accuracy_is_the_binomial_tail(net):
    found = measuring.guessing(net, {"loss": 1.0, "accuracy": 0.4}, 5)
    tail = 1 - (2 / 3) ** 5 - 5 * (1 / 3) * (2 / 3) ** 4  # at least 2 of 5
    assert f"(p = {tail:.2g} on 5 examples)" in found


def test_every_position_of_an_image_is_classified():
    image = keras.Input((4, 4, 1))
    net = keras.Model(image, keras.layers.Dense(2, activation="softmax")(image))
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    measured = {"loss": 0.6, "accuracy": 0.75}
    assert measuring.guessing(net, measured, 2) is None  # 24 of 32


@pytest.mark.parametrize("name", ["acc", "sparse_categorical_accuracy"])
def test_an_accuracy_of_another_name_counts(name, net):
    assert measuring.guessing_warning(net, {"loss": 1.0, name: 0.3}, 60)
    assert measuring.guessing_warning(net, {"loss": 1.0, name: 0.9}, 60) is None


def test_keras_numbering_of_optimizers_is_not_shown():
    net = classifier()
    net.compile(keras.optimizers.SGD(0.5, name="sgd_12"), "mse")
    assert measuring.describe_compiled(net) == "mean_squared_error, sgd"


def test_data_sets_of_tensorflow_datasets_are_resized(tmp_path, net):
    tfds = pytest.importorskip("tensorflow_datasets")
    tf = pytest.importorskip("tensorflow")
    images, labels = examples(9)
    large = images.repeat(2, axis=1).repeat(2, axis=2)[..., None]
    pairs = tf.data.Dataset.from_tensor_slices((large, labels))
    builder = mock.Mock()
    builder.as_dataset.return_value = {"train": pairs.take(6), "test": pairs.skip(6)}
    args = options("mine", data_dir=str(tmp_path), hold_out=0.5)
    with mock.patch.object(tfds, "builder", return_value=builder):
        data = data_source.read(args, net)
    assert [len(x) for x, _ in data.splits.values()] == [3, 3, 3]
    x, y = data.splits["test"]
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x[..., 0], images[6:])
    np.testing.assert_array_equal(y, labels[6:])
    args.examples = 2  # of each split, after the validation examples are held out
    with mock.patch.object(tfds, "builder", return_value=builder):
        some = data_source.read(args, net)
    assert [len(x) for x, _ in some.splits.values()] == [2, 2, 2]
    places = [{x.tobytes() for x in each.splits["test"][0]} for each in (some, data)]
    assert places[0] < places[1]
    args.resize, args.examples = "crop", None
    with mock.patch.object(tfds, "builder", return_value=builder):
        cropped = data_source.read(args, net)
        with pytest.raises(WrongUse, match="--resize crop needs a model whose inputs"):
            data_source.read(args, net_of((2,), layers.Dense(1)))
    (x, y), (crop, of_crop) = data.splits["test"], cropped.splits["test"]
    assert crop.shape == x.shape and crop.dtype == x.dtype
    np.testing.assert_array_equal(y, of_crop)
    assert not np.array_equal(crop, x)
    del builder.as_dataset.return_value["train"]
    with mock.patch.object(tfds, "builder", return_value=builder):
        with pytest.raises(
            WrongUse, match="'mine' must have a split named train. It has: test"
        ):
            data_source.read(args, net)


def test_open_sizes_are_said_by_an_option(tmp_path, capsys):
    image = keras.Input((None, None, 3))
    unit = keras.layers.Conv2D(3, 3, padding="same")(image)
    unit = keras.layers.Add(name="unit_add")([image, unit])
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(unit))
    model.save(tmp_path / "open.keras")
    inspect = ("inspect", tmp_path / "open.keras")
    code, out, _ = resprune(capsys, *inspect)
    assert code == 0 and "size of the input, which is open" in out
    assert "by --input-shape, such as" in out
    told = resprune_json(capsys, *inspect, "--input-shape", "8,8,3")
    assert told["cost"]["macs"] == 8 * 8 * (9 * 9 + 3 * 2)
    assert told["units"][0]["macs"] == 8 * 8 * 9 * 9
    code, _, err = resprune(capsys, *inspect, "--input-shape", "8,8,1")
    assert code == 2 and "--input-shape does not fit" in err
    code, _, err = resprune(capsys, *inspect, "--input-shape", "8,x")
    assert code == 2 and "'8,x' is not an input size, such as" in err
    prune = ("prune", tmp_path / "open.keras", "--criterion", "random", "--epochs", 0)
    out = ("--out", tmp_path / "out")
    code, _, err = resprune(capsys, *prune, "--target", "macs=0.5", *out)
    assert code == 1 and "To fix them, give --input-shape 224,224,3" in err
    shape = ("--input-shape", "8,8,3")
    code, _, err = resprune(capsys, *prune, "--target", "macs=0.5", *out, *shape)
    assert code == 0, err
    pruned = keras.saving.load_model(tmp_path / "out" / "pruned.keras")
    assert pruned.input_shape == (None, 8, 8, 3)


def test_what_needs_tensorflow_says_so_without_it(tmp_path, capsys):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    image = keras.Input((8, 8, 3))
    unit = layers.Add()([image, layers.Conv2D(3, 3, padding="same")(image)])
    keras.Model(image, layers.Flatten()(unit)).save(tmp_path / "net.keras")
    score = ("scores", tmp_path / "net.keras", "--data", tmp_path / "images")
    compare = ("compare", tmp_path / "net.keras", tmp_path / "net.keras")
    with mock.patch("importlib.util.find_spec", return_value=None):
        code, _, err = resprune(capsys, *score)
        assert code == 2 and "TensorFlow reads. Install it by `pip install" in err
        code, _, err = resprune(capsys, *compare)
        assert code == 2 and "--runtime none times nothing" in err
