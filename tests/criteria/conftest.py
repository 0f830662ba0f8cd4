"""A way to run the criteria that takes less time than compiling them."""

import keras
import pytest


@pytest.fixture
def eagerly():
    """Runs what would be compiled as it is, operation by operation.

    For tests of numbers, whose few batches take less time than a compilation. That
    every criterion can be compiled is a point of test_by_name.py, and that it can be
    where units are in nested models one of test_probing.py.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
