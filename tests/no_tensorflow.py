"""Makes TensorFlow look as if it were not installed.

A pytest plugin (`pytest -p tests.no_tensorflow`), or a way to run a module:

    python -m tests.no_tensorflow experiments.cifar --dataset=digits
"""

import runpy
import sys

for name in ("tensorflow", "tensorflow_datasets"):
    sys.modules[name] = None

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
