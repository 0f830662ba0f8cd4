"""The environment as it enters the records."""

import json

import keras

from resprune_tf.runs.environment import environment


def test_environment_is_flat_json():
    found = json.loads(json.dumps(environment()))
    assert found["keras"] and found["cores"] >= 1 and found["cpu"]
    assert found["backend"] == keras.backend.backend() and found["devices"]
    assert not any(isinstance(value, (dict, list)) for value in found.values())
