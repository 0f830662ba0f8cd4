"""Small nets, data and settings for runs on a user's own terms."""

import keras
import numpy as np

import resprune_tf as rp
from tests.made.options import options

QUIET = {"jit_compile": False}  # compiled in a moment, which is most of a small test


def dense_net(units=2, outputs=1, activation=None, importance=True, seed=0, dropout=0):
    """Residual units of dense layers on 6 numbers."""
    rng = iter(range(100 * seed, 100 * seed + 100))

    def dense(size, name, activation=None):
        kernel = keras.initializers.GlorotUniform(seed=next(rng))
        return keras.layers.Dense(
            size, activation, name=name, kernel_initializer=kernel
        )

    x = numbers = keras.Input((6,), name="numbers")
    x = dense(8, "stem", "relu")(x)
    for unit in range(1, units + 1):
        branch = dense(8, f"unit{unit}_dense", "relu")(x)
        if dropout:
            branch = keras.layers.Dropout(dropout, seed=7, name=f"unit{unit}_drop")(
                branch
            )
        if importance:
            scale = keras.initializers.Constant(0.2 * unit)
            branch = rp.ImportanceScale(scale, name=f"unit{unit}_importance")(branch)
        x = keras.layers.Add(name=f"unit{unit}_add")([x, branch])
    return keras.Model(numbers, dense(outputs, "head", activation)(x), name="mine")


def numbers(count=48, seed=0):
    """Six random numbers each, and a number that depends on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)).astype("float32")
    return x, (x[:, :1] - 0.5 * x[:, 1:2] * x[:, 2:3]).astype("float32")


def regression_data(**fields):
    fields = {"validation": numbers(16, 1), "batch_size": 16, **fields}
    return rp.FitData(train=numbers(), **fields)


def regression_net(**fields):
    model = dense_net(**fields)
    # A third of the operations of Adam, and still with a state to keep.
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, "mse", metrics=["mae"], **QUIET)
    return model


def own(model=None, optimizer="sgd", **compiled):
    """A net that is trained eagerly: tracing a step takes longer than a few of them."""
    model = model or dense_net(units=1)
    settings = {"loss": "mse", "metrics": ["mae"], "run_eagerly": True}
    model.compile(optimizer, **{**settings, **compiled})
    return model


def shorten(model, data, recipe=None, **settings):
    settings = options(**{"monitor": "mae", **settings})
    recipe = recipe or rp.FitRecipe(epochs=2)
    return rp.prune_and_retrain(model, data, recipe, **settings)
