"""Small nets that many tests share."""

import functools
import gc
import os
import pathlib
import signal
import typing

# Quiet TensorFlow's start-up notes before anything imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Off, so that results do not depend on the processor, and because of the error of
# oneDNN in narrow nets that `SubsampledConv2D` describes.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Until the tests are collected; see `pytest_collection_finish`.
gc.disable()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from keras import layers  # noqa: E402

from resprune_tf import (  # noqa: E402
    Architecture,
    ImportanceScale,
    build_resnet,
    make_repeatable,
)
from resprune_tf.data.dataset import Dataset, Split  # noqa: E402

if hasattr(typing, "_get_protocol_attrs"):
    # TensorFlow asks at every operation whether its arguments are of a Protocol, whose
    # attributes Python 3.11 collects anew each time.
    typing._get_protocol_attrs = functools.cache(typing._get_protocol_attrs)

make_repeatable()
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from tensorflow.python.framework import ops

    # Optimising the graph of a function that runs a few times takes longer than all of
    # its runs, and a third of the time of these tests.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    # Every operation keeps the Python stack that created it, for messages of errors at
    # run time. Recording the deep stack of a test takes a fifth of the time of tracing.
    ops._create_c_op = functools.partial(ops._create_c_op, extract_traceback=False)

COMPILED = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"


def jax_environment(name):
    """Environment of a process on JAX.

    Its programs run for a moment: compiling them well would take longer than they do.
    Compiled programs are kept from one run of the tests to the next, in a folder of
    each kind of process: processes that run at once would read half written files.
    """
    return {
        "KERAS_BACKEND": "jax",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(COMPILED / name),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def small_net(depth=20, **fields):
    """A ResNet of 4 channels on 8x8 images, with lively statistics and ω."""
    fields = {"width": 4, "num_classes": 5, "image_shape": (8, 8, 3), **fields}
    model = build_resnet(Architecture.cifar(depth, **fields))
    randomise(model)
    return model


def shallow_net(importance=True, width=4):
    """The least that can lose three units: 5 layers, a BatchNormalization, 3 classes.

    A unit is one dense layer. A run traces its net several times, and most of what that
    takes goes by the number of layers.
    """
    x = image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(width, 3, 4, padding="same", name="stem_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU()(x))
    for unit in ("stage1_unit2", "stage1_unit3", "stage1_unit4"):
        branch = layers.Dense(width, "relu", name=f"{unit}_dense")(x)
        if importance:
            branch = ImportanceScale(name=f"{unit}_importance")(branch)
        x = layers.Add(name=f"{unit}_add")([x, branch])
    model = keras.Model(image, layers.Dense(3, name="logits")(x), name="shallow")
    randomise(model)
    return model


def net_of(shape, *chain):
    """A model of one input that runs through layers, or functions, in a row."""
    x = image = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(image, x)


def randomise(model, seed=0):
    """Sets every variable to random values; variances stay positive."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = (0.5, 1.5) if "variance" in variable.path else (-0.6, 0.6)
        variable.assign(rng.uniform(low, high, variable.shape))


def images_of(model, count=4, seed=1):
    """Random float32 images of a model's input shape."""
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def outputs(model, images):
    """A model's inference outputs as an array."""
    return keras.ops.convert_to_numpy(model(images, training=False))


def toy_dataset(train=64, validation=32, test=32, classes=3, seed=0):
    """Images whose brightness in a corner tells the class, plus noise."""
    rng = np.random.default_rng(seed)

    def split(count):
        labels = rng.integers(0, classes, count).astype("int32")
        images = rng.integers(0, 100, (count, 8, 8, 3))
        for label in range(classes):
            images[labels == label, label * 2 : label * 2 + 2, :4] += 120
        return Split(images.astype("uint8"), labels)

    return Dataset(
        name="toy",
        train=split(train),
        validation=split(validation),
        test=split(test),
        class_names=tuple(map(str, range(classes))),
        mean=(80.0,) * 3,
        std=(60.0,) * 3,
        flip=True,
        crop_padding=1,
        source="made up",
    )


def pytest_collection_finish():
    """Takes what importing TensorFlow and all tests made out of garbage collection.

    These are a million objects that stay. Looking through them took a tenth of a short
    training, as a run collects garbage after every round.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def command_line():
    """Parsed flags, and afterwards the signal handlers that a command replaced."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["tests"])
    handlers = {number: signal.getsignal(number) for number in (2, 15)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def in_this_process(monkeypatch):
    """`export` runs what it wrote here: without a fresh process, this package in sight.

    For tests of what is written. That it runs elsewhere is a point of test_export.py.
    """
    from resprune_tf.deploy import runtimes

    def outputs_here(runtime, job, arrays, backend=None):
        job = dict(job)
        assert job.pop("name") == "outputs"
        load, _ = runtimes.RUNTIMES[runtime]
        return runtimes.outputs(load, [np.asarray(array) for array in arrays], **job)

    monkeypatch.setattr("resprune_tf.deploy.export.in_fresh_process", outputs_here)


@pytest.fixture
def no_plots(monkeypatch):
    """Reports come without their plots, which take longer to draw than to prune."""
    empty = '<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr("resprune_tf.report.drawing.draw", lambda *_, **__: empty)


@pytest.fixture
def eagerly():
    """Runs what would be compiled as it is, operation by operation.

    For tests of numbers, whose few batches take less time than a compilation. That
    criteria can be compiled is a point of test_by_name.py and test_probing.py.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def _fresh_names():
    """Auto-generated layer names start over, so that tests do not see each other."""
    # Python looks for garbage by itself. Looking through all that importing TensorFlow
    # made, before every test, takes longer than most tests.
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
