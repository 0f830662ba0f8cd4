"""Makes TensorFlow look as if it were not installed.

A pytest plugin (`pytest -p tests.made.no_tensorflow`), or a way to run a module:

    python -m tests.made.no_tensorflow experiments.cifar --dataset=digits
"""

import importlib.util
import runpy
import sys

NAMES = ("tensorflow", "tensorflow_datasets")


class _Missing:
    """Refuses to import; `None` in sys.modules would make Keras look into it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


_find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name in NAMES else _find_spec(name, package)
)
sys.meta_path.insert(0, _Missing)

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
