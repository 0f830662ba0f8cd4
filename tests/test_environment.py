"""The environment as it enters the records."""

import json

from resprune_tf.environment import environment


def test_environment_is_flat_json():
    found = json.loads(json.dumps(environment()))
    assert found["keras"] and found["cores"] >= 1 and found["cpu"]
    assert not any(isinstance(value, (dict, list)) for value in found.values())
