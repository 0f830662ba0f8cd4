"""Which nets fit into a whole one; the training side by side, on JAX."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf import Recipe, remove_units
from resprune_tf.embedding import embed, silenced, variables_by_name
from resprune_tf.importance import ImportanceScale
from resprune_tf.side_by_side import SideBySide
from tests.conftest import JAX, images_of, outputs, randomise, small_net, toy_dataset

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_training_side_by_side_on_jax():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, "tests/jax_side_by_side.py"],
        cwd=ROOT,
        env={**os.environ, **JAX},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="it works there")
def test_other_backends_are_refused():
    with pytest.raises(ValueError, match="JAX backend.*Received: tensorflow"):
        SideBySide(small_net(11), toy_dataset(), Recipe(batch_size=16))


def test_embedded_nets_compute_what_the_shortened_ones_do():
    """Stacked values of two nets, put into the whole one by hand."""
    whole = small_net(20)
    nets = [remove_units(whole, "stage1_unit2"), remove_units(whole, "stage3_unit2")]
    for seed, net in enumerate(nets):
        randomise(net, seed)
    zeros = [{(name, 0): np.zeros(()) for name in silenced(whole, net)} for net in nets]
    assert zeros[0] == {("stage1_unit2_importance", 0): 0}
    slots = variables_by_name(whole)
    values = embed(
        [
            {**variables_by_name(net), **zero}
            for net, zero in zip(nets, zeros, strict=True)
        ],
        slots,
    )
    assert all(array.shape[0] == 2 for array in values.values())
    for member, net in enumerate(nets):
        for key, variable in slots.items():
            variable.assign(values[key][member])
        images = images_of(net)
        np.testing.assert_array_equal(outputs(whole, images), outputs(net, images))


def unit(x, name, branch, scale=True):
    """`x + ω·branch(x)`."""
    y = x
    for layer in branch:
        y = layer(y)
    if scale:
        y = ImportanceScale(name=f"{name}_importance")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def test_units_that_cannot_be_silenced():
    def net(**options):
        image = keras.Input((4,))
        x = layers.Dense(4, name="first")(image)
        norm = layers.BatchNormalization(name="norm")
        dense = layers.Dense(
            4, name="dense", kernel_regularizer=options.get("regularizer")
        )
        branch = [norm, dense] if options.get("shared") else [dense]
        x = unit(x, "a", branch, scale=options.get("scale", True))
        return keras.Model(image, norm(x) if options.get("shared") else x, name="net")

    fine = net()
    assert silenced(fine, remove_units(fine, "a")) == ["a_importance"]
    assert silenced(fine, fine) == []
    for options, message in (
        ({"scale": False}, "Unit 'a' cannot be silenced"),
        ({"shared": True}, "Layer 'norm' is used inside and outside"),
        ({"regularizer": "l2"}, "Layer 'dense' of a removed unit has a regularizer"),
    ):
        whole = net(**options)
        with pytest.raises(ValueError, match=message):
            silenced(whole, remove_units(whole, "a"))


def test_nets_of_another_origin():
    whole, other = small_net(20), small_net(20, width=8)
    with pytest.raises(ValueError, match="'resnet29' is not 'resnet20' without some"):
        silenced(whole, small_net(29))
    with pytest.raises(ValueError, match="no variable of shape .* another origin"):
        embed([variables_by_name(other)], variables_by_name(whole))
