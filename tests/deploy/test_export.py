"""Export: what is written runs on its own, or nothing is written."""

import importlib
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf import load_dataset
from resprune_tf.deploy.fresh_process import RuntimeFailed, in_fresh_process
from resprune_tf.deploy.registry import FORMATS
from resprune_tf.deploy.runtimes import RUNTIMES
from resprune_tf.deploy.signature import input_names
from resprune_tf.nets.importance import ImportanceScale
from tests.conftest import images_of, net_of, outputs, randomise, shallow_net

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]

# By name: the package's `export` is the function.
exporting = importlib.import_module("resprune_tf.deploy.export")
export, ExportError = exporting.export, exporting.ExportError


@pytest.fixture(scope="module")
def net():
    return shallow_net()


def listing(directory):
    return sorted(path.name for path in pathlib.Path(directory).iterdir())


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A net that reads digits, its test images and labels, and all exports of it.

    Its convolutions are random. A ridge regression on their features reads digits well
    enough, and at once.
    """
    data = load_dataset("digits")

    def images(split):
        return ((split.images - np.array(data.mean)) / data.std).astype("float32")

    image = keras.Input(data.image_shape, name="image")
    x = layers.Conv2D(64, 5, padding="same")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    branch = layers.Conv2D(64, 3, padding="same")(layers.BatchNormalization()(x))
    x = layers.Add()([x, ImportanceScale()(branch)])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    net = keras.Model(image, layers.Dense(10)(x), name="digits")
    randomise(net)
    features = outputs(keras.Model(image, x), images(data.train))
    features = np.c_[features, np.ones(len(features))]
    head = np.linalg.solve(
        features.T @ features + 0.1 * np.eye(65),
        features.T @ np.eye(10)[data.train.labels],
    )
    net.layers[-1].set_weights([head[:-1], head[-1]])
    folder = tmp_path_factory.mktemp("digits")
    (folder / "saved_model").mkdir()
    (folder / "saved_model" / "stale.txt").write_text("old")
    (folder / "model.keras").write_text("old")
    before = [keras.ops.convert_to_numpy(v.value) for v in net.variables]
    made = export(
        net,
        folder,
        list(FORMATS),
        images=images(data.test),
        calibration=[(images(data.train)[:100], data.train.labels[:100])],
    )
    for value, variable in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable.value))
    made = {exported.format: exported for exported in made}
    return net, images(data.test), data.test.labels, folder, made


def test_all_formats_run_on_their_own_and_replace_older_ones(digits):
    net, images, _, folder, made = digits
    assert list(made) == list(FORMATS)
    assert listing(folder) == sorted(format.file for format in FORMATS.values())
    scale = max(1, np.abs(outputs(net, images)).max())
    for name, exported in made.items():
        assert exported.path == folder / FORMATS[name].file
        difference = FORMATS[name].tolerance * scale
        assert 0 <= exported.max_abs_difference <= difference
        assert exported.agreement == 1.0 or name == "litert_int8"
    assert "saved_model.pb" in listing(folder / "saved_model")
    assert "stale.txt" not in listing(folder / "saved_model")
    assert made["keras"].bytes == (folder / "model.keras").stat().st_size > 1000
    assert made["saved_model"].bytes > made["keras"].bytes
    assert made["litert"].bytes > made["litert_float16"].bytes
    assert made["litert_float16"].bytes > made["litert_int8"].bytes
    loaded = keras.saving.load_model(made["keras"].path)
    assert not any(isinstance(layer, ImportanceScale) for layer in loaded.layers)


@pytest.mark.parametrize("name", ["litert", "litert_float16", "litert_int8"])
def test_litert_reads_digits_as_well_as_the_model(digits, name):
    net, images, labels, _, made = digits
    load, _ = RUNTIMES["litert"]
    loaded = load(str(made[name].path), 1)
    ((entrance, (shape, dtype)),) = loaded.inputs.items()
    assert shape == (None, *net.input_shape[1:]) and dtype is np.float32

    def decisions(images):
        (found,) = loaded.run({entrance: images})
        assert found.dtype == np.float32
        return found.argmax(-1)

    wanted = outputs(net, images).argmax(-1)
    accuracy = np.mean(wanted == labels)
    assert accuracy > 0.85  # else what follows says nothing
    assert made[name].agreement == np.mean(decisions(images) == wanted)
    assert np.mean(decisions(images) == labels) >= accuracy - 0.02
    # Batches of any size in any order.
    assert [*decisions(images[:7]), *decisions(images[7:9])] == [*decisions(images[:9])]


@pytest.mark.parametrize("runtime", ["SavedModel", "LiteRT", "ONNX Runtime", "Keras"])
def test_the_documentation_runs(digits, runtime):
    net, images, _, folder, _ = digits
    page = (ROOT / "docs" / "deploy.md").read_text().partition("## Running it")[2]
    code = page.partition(f"\n{runtime}")[2].split("```")[1].removeprefix("python")
    names = {"images": images[:5]}
    exec(code.replace("out/", f"{folder}/"), names)
    assert names["logits"].shape == (5, 10)
    wanted = outputs(net, images[:5])
    np.testing.assert_array_equal(names["logits"].argmax(-1), wanted.argmax(-1))


def test_wrong_ranges_are_refused(digits, tmp_path):
    """Calibrated on what images never look like, int8 computes something else."""
    net, images, *_ = digits
    with pytest.raises(ExportError, match=r"'litert_int8' file .* tolerance=0\.2"):
        export(
            net,
            tmp_path,
            "litert_int8",
            images=images[:8],
            calibration=images[:8] * 1e-3,
        )
    assert listing(tmp_path) == []


def test_several_inputs_and_outputs(tmp_path, in_this_process):
    """Also: integers, a layer norm, the exact GELU, mixed precision, `x + y`."""
    inputs = {
        "word": keras.Input((3,), dtype="int32", name="word"),
        "image": keras.Input((4, 4, 3), name="image"),
    }
    policy = keras.DTypePolicy("mixed_float16")
    x = layers.Conv2D(4, 3, padding="same", dtype=policy)(inputs["image"])
    y = layers.LayerNormalization(dtype=policy)(x)
    x = x + layers.Dense(4, activation="gelu", dtype=policy)(y)
    x = layers.GlobalAveragePooling2D()(x)
    word = layers.Flatten()(layers.Embedding(5, 2)(inputs["word"]))
    net = keras.Model(inputs, {"b": layers.Dense(3)(x), "a": word, "c": x})
    rng = np.random.default_rng(0)
    images = {
        "word": rng.integers(0, 5, (4, 3)),
        "image": rng.normal(size=(4, 4, 4, 3)),
    }
    made = export(net, tmp_path, ("saved_model", "litert", "onnx"), images=images)
    assert [exported.agreement for exported in made] == [None] * 3
    assert max(exported.max_abs_difference for exported in made) < 1e-5
    with pytest.raises(
        ValueError, match="Input 'word' of .* cannot be filled with noise"
    ):
        export(net, tmp_path, "onnx")


def test_inputs_without_a_name(tmp_path, in_this_process):
    """Keras gives them one, which a folded copy need not have."""
    keras.Input((2,))  # takes the first name
    net = net_of((4, 4, 3), layers.Conv2D(2, 3), layers.Flatten())
    images = images_of(net, 8)
    (exported,) = export(net, tmp_path, "litert_int8", images=images)
    assert exported.max_abs_difference < 0.1


def test_an_input_of_a_fixed_number_in_a_list(tmp_path, in_this_process):
    """Files accept any number of images, given as one array."""
    image = keras.Input(batch_shape=(3, 4), name="image")
    net = keras.Model([image], [layers.Dense(3)(image)])
    randomise(net)
    images = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
    formats = ("saved_model", "keras", "litert_int8", "onnx")
    made = export(net, tmp_path, formats, images=images)
    assert all(each.agreement == 1.0 for each in made if each.format != "litert_int8")
    load, _ = RUNTIMES["tensorflow"]
    ((shape, _),) = load(str(tmp_path / "saved_model"), None).inputs.values()
    assert shape == (None, 4)


def test_inputs_of_any_name(tmp_path, in_this_process):
    """TensorFlow has its own idea of a name; what is fed to which input stays."""
    names = ("a:0", "a 0", "größe", "_x", "1x", "class")
    inputs = {name: keras.Input((2,), name=name) for name in names}
    net = keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([*inputs.values()])))
    assert input_names(net) == [
        "arg_1x",  # as Keras orders dicts
        "arg__x",
        "a_0",
        "a_0_",
        "arg_class",
        "gr__e",
    ]
    as_list = keras.Model(net.inputs, net.outputs)
    made = export(net, tmp_path, ("saved_model", "keras", "litert", "onnx"))
    for exported in (*made, *export(as_list, tmp_path, ("litert", "onnx"))):
        assert exported.max_abs_difference < 1e-5
    image = keras.Input((2,), name="my image-1")
    model = keras.Model(image, layers.Dense(3)(image))
    assert export(model, tmp_path, "saved_model")[0].max_abs_difference < 1e-5


def test_custom_layers_cannot_hide(tmp_path, monkeypatch):
    def on_numpy(runtime, job, arrays, backend):
        # Which backend does not find the class makes no difference. This one is there
        # in half the time.
        return in_fresh_process(runtime, job, arrays, "numpy")

    monkeypatch.setattr(exporting, "in_fresh_process", on_numpy)
    net = net_of((4, 4, 3), ImportanceScale())
    message = r"(?s)'keras' file does not run .* without resprune_tf.*ImportanceSc"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path / "new", ["keras"], fold=False)
    assert listing(tmp_path / "new") == []


@pytest.fixture
def made_up(net, monkeypatch):
    """Files hold a word, and the fresh process returns what is asked for."""

    def write(name, model, folder, calibration):
        (folder / FORMATS[name].file).write_text(name)
        return folder / FORMATS[name].file

    monkeypatch.setattr(exporting, "write", write)

    def set_outputs(change):
        def in_fresh_process(runtime, job, arrays, backend):
            y = outputs(net, arrays[0])
            made = {f"{i}_0": y[:n].copy() for i, n in enumerate(job["counts"])}
            return change(made) or made

        monkeypatch.setattr(exporting, "in_fresh_process", in_fresh_process)

    return set_outputs


@pytest.mark.parametrize("found", [np.nan, 1.0])
def test_every_output_is_compared(net, tmp_path, made_up, found):
    def change(made):
        made["2_0"][-1, -1] += found

    made_up(change)
    (tmp_path / "model.keras").write_text("old")
    message = "'keras' file does not match .* for 5 images differ by (nan|1)"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path, ("keras",), images=images_of(net, 5))
    assert listing(tmp_path) == ["model.keras"]
    assert (tmp_path / "model.keras").read_text() == "old"


def test_batches_cannot_hide(net, tmp_path, made_up):
    made_up(lambda made: {**made, "1_0": made["0_0"]})
    message = r"for 3 images have the shape \(1, 3\) instead of \(3, 3\)"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path, "litert")


def test_differences_agreements_and_tolerances(net, tmp_path, made_up):
    """Two of eight decisions are turned over, and the largest output doubled."""

    def change(made):
        for key, y in made.items():
            made[key] = np.where(np.arange(len(y))[:, None] < 6, y, -y)

    made_up(change)
    images = images_of(net, 8)
    largest = np.abs(outputs(net, images)).max()
    half = np.abs(outputs(net, images)[6:]).max()
    (exported,) = export(net, tmp_path, "onnx", images, tolerance=2)
    assert exported.agreement == 0.75
    assert exported.max_abs_difference == pytest.approx(2 * half)
    relative = 2 * half / max(1, largest)
    for tolerance in (relative * 0.99, {"onnx": relative * 0.99}, {"keras": 9}, None):
        with pytest.raises(ExportError, match="'onnx' file does not match"):
            export(net, tmp_path, "onnx", images, tolerance)
    export(net, tmp_path, "onnx", images, {"onnx": relative * 1.01})
    with pytest.raises(ValueError, match="must be formats: saved_model, .*'h5'"):
        export(net, tmp_path, "onnx", images, {"h5": 1})


def test_a_format_that_fails_spoils_all(net, tmp_path, made_up, monkeypatch):
    def in_fresh_process(runtime, *job):
        if runtime == "litert":
            raise RuntimeFailed("no such kernel")
        return found(runtime, *job)

    made_up(lambda made: None)
    found = exporting.in_fresh_process
    monkeypatch.setattr(exporting, "in_fresh_process", in_fresh_process)
    message = "(?s)'litert' file does not run.*may lack an operation.*no such kern"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path, ("onnx", "litert"))
    assert listing(tmp_path) == []


def test_a_converter_that_refuses_says_so(net, tmp_path, monkeypatch):
    def write(model, path, calibration):
        raise ValueError("no rule for Fold")

    monkeypatch.setattr("resprune_tf.deploy.formats.write_onnx_file", write)
    message = "(?s)'shallow' cannot be written as 'onnx'.*ValueError: no rule for"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path, "onnx")
    assert listing(tmp_path) == []


def test_operations_that_a_runtime_does_not_have_are_named(tmp_path):
    net = net_of((4, 4), lambda x: keras.ops.reshape(keras.ops.det(x), (-1, 1)))
    message = "'litert'. .* its runtime does not support MatrixDeterminant.$"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path, "litert")


def test_int8_wants_real_images(net, tmp_path):
    with pytest.raises(ValueError, match="requires real images. Pass `calibration`"):
        export(net, tmp_path / "new", ("keras", "litert_int8"))
    assert listing(tmp_path) == []


def test_refuses_before_any_work(net, tmp_path):
    with pytest.raises(ValueError, match="`formats` must be one or more of .*'h5'"):
        export(net, tmp_path / "new", ("keras", "h5"))
    with pytest.raises(ValueError, match="`images` must contain at least 4"):
        export(net, tmp_path / "new", images=images_of(net, 3))
    with pytest.raises(ValueError, match="`images` must fit the inputs of 'shallow'"):
        export(net, tmp_path / "new", images=np.zeros((4, 9, 8, 3)))
    with pytest.raises(TypeError, match="export reads the graph"):
        export(keras.Sequential([layers.Dense(3)]), tmp_path / "new")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("nest", [lambda a, b: {"a": a, "b": [b, b]}, lambda *x: [x]])
def test_outputs_in_groups_are_for_keras_alone(tmp_path, nest, in_this_process):
    image = keras.Input((2,), name="image")
    net = keras.Model(image, nest(layers.Dense(3)(image), layers.Dense(2)(image)))
    with pytest.raises(
        ValueError, match="whose outputs are nested deeper.*format 'keras'"
    ):
        export(net, tmp_path / "new", ("keras", "onnx"))
    assert not (tmp_path / "new").exists()
    assert export(net, tmp_path, "keras")[0].max_abs_difference < 1e-5


def test_augmentation_is_not_in_the_file(tmp_path, in_this_process):
    """Its `call` has `training=True` by default, and `export` of Keras does not say."""
    augmentation = keras.Sequential(
        [layers.RandomRotation(0.3), layers.RandomContrast(0.5, value_range=(0, 1))]
    )
    net = net_of(
        (8, 8, 3), layers.RandomFlip(), augmentation, layers.Flatten(), layers.Dense(4)
    )
    formats = ("saved_model", "litert", "onnx")
    images = images_of(net, 8)
    for made in export(net, tmp_path, formats, images=images):
        assert made.max_abs_difference < 1e-5
