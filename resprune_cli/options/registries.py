"""What the library keeps by name, read without importing the library.

`resprune_tf` takes seconds to import; help and wrong use must not wait for it. Its
registries are pure Python files, which are loaded by their place.
"""

import functools
import importlib.util
import pathlib
import sys


@functools.cache
def registry(name):
    """A pure module of `resprune_tf`, such as `"criteria.registry"`."""
    package = importlib.util.find_spec("resprune_tf").origin
    path = pathlib.Path(package).parent.joinpath(*name.split(".")).with_suffix(".py")
    # A name of its own: the library's module of this file is another one.
    spec = importlib.util.spec_from_file_location(f"resprune_cli registry {name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    return module
