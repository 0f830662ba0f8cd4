"""Messages that advise programmers in Python, and commands by their options."""

import keras
import numpy as np
import pytest

from resprune_tf.criteria.by_name import check_scored, check_trained
from resprune_tf.criteria.comparison import check_possible
from resprune_tf.criteria.loss_check import check_loss
from resprune_tf.deploy.latency import latency
from resprune_tf.graph.compilation import compile_like
from resprune_tf.runs.judging import direction
from resprune_tf.system.advice import advice, for_commands
from resprune_tf.units.finding import find_units, scored_units
from resprune_tf.units.importances import add_importance
from tests.conftest import net_of


def test_an_advice_is_for_those_who_read_it():
    assert advice(" Give `a`.", " Give --a.") == " Give `a`."
    with for_commands():
        assert advice(" Give `a`.", " Give --a.") == " Give --a."
        assert advice(" Give `a`.") == ""
    assert advice(" Give `a`.", " Give --a.") == " Give `a`."


def test_an_error_ends_what_is_said_to_commands():
    with pytest.raises(KeyError), for_commands():
        raise KeyError
    assert advice("code", "command") == "code"


def residual(*last, size=4):
    """A net of one residual unit without ω."""
    x = image = keras.Input((size,))
    x = keras.layers.Add()([x, keras.layers.Dense(size or 4)(x)])
    for layer in last:
        x = layer(x)
    return keras.Model(image, x)


class Block(keras.layers.Layer):
    """A residual unit whose layers cannot be seen."""

    def __init__(self):
        super().__init__()
        self.one, self.two = keras.layers.Dense(8), keras.layers.Dense(8)

    def call(self, x):
        return x + self.two(self.one(x))


def compiled(loss, **settings):
    model = residual(**settings)
    model.compile("sgd", loss)
    return model


class Odd(keras.metrics.MeanSquaredError):
    """A metric that does not say which way it is better."""

    def __init__(self, name):
        super().__init__(name)
        self._direction = None


def watched(model):
    model.compile("sgd", "mse", metrics=[Odd("odd")], run_eagerly=True)
    model.evaluate(np.ones((2, 4)), np.ones((2, 4)), verbose=0)
    return direction(model, "odd")


def nothing_like(model):
    """Compiles a model as one was that was compiled with a function."""
    source = compiled(lambda y, y_pred: y_pred)
    compile_like(model, source)


CLASSES = np.zeros(2, "int32")


@pytest.mark.parametrize(
    "fail, code, command",
    [
        (lambda: check_scored({}, residual()), "add_importance", "Choose another"),
        (
            lambda: check_trained(add_importance(residual())),
            '`initial="train"`',
            "Choose another criterion",
        ),
        (
            lambda: check_possible(
                "importance", residual(), scored_units(residual()), None, None
            ),
            "ImportanceScale",
            "learned factors",
        ),
        (
            lambda: check_loss(compiled("mse"), "taylor", CLASSES),
            "as `loss`",
            "give --loss",
        ),
        (
            lambda: check_loss(residual(keras.layers.Softmax()), "taylor", CLASSES),
            "`loss=",
            "--loss",
        ),
        (
            lambda: check_loss(residual(keras.layers.Dense(1)), "taylor", CLASSES),
            "`loss=",
            "--loss",
        ),
        (lambda: watched(residual()), "`mode=", "--monitor"),
        (lambda: nothing_like(residual()), "compile_fn", "--optimizer"),
        (
            lambda: latency(
                net_of((None, None, 1), keras.layers.GlobalAveragePooling2D())
            ),
            "with_input_shape",
            "--input-shape",
        ),
    ],
)
def test_errors_say_what_their_reader_can_do(fail, code, command):
    with pytest.raises(ValueError) as of_code:
        fail()
    with pytest.raises(ValueError) as of_command, for_commands():
        fail()
    assert code in str(of_code.value) and command not in str(of_code.value)
    assert command in str(of_command.value) and code not in str(of_command.value)
    assert str(of_command.value).rstrip().endswith(".") == (
        str(of_code.value).rstrip().endswith(".")
    )


def test_tables_of_units_name_functions_only_to_programmers():
    x = image = keras.Input((8,))
    x = keras.layers.Dense(8)(x)
    x = keras.layers.Dense(8)(x) + keras.layers.Dense(8)(x)  # no shortcut
    x = Block()(x)
    units = find_units(keras.Model(image, x))
    assert "`expand`" in str(units) and "`register_unit`" in str(units)
    with for_commands():
        assert "--expand" in str(units) and "`" not in str(units)
