"""What the library keeps by name, read without importing the library.

`resprune_tf` takes seconds to import; help and wrong use must not wait for it. Its
registries are pure Python files, which are loaded by their place.
"""

import functools
import importlib.util
import pathlib


@functools.cache
def registry(name):
    """A pure module of `resprune_tf`, such as `"criteria.registry"`."""
    package = importlib.util.find_spec("resprune_tf").origin
    path = pathlib.Path(package).parent.joinpath(*name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
