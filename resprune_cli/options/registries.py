"""Reads single modules of the library without importing the library.

Importing `resprune_tf` takes seconds. Help and refusals of wrong arguments need only a
few of its modules, which do not import the package and are loaded by their path.
"""

import functools
import importlib.util
import pathlib
import sys


@functools.cache
def registry(name):
    """Loads a module of `resprune_tf` that does not import the package.

    Args:
        name: name within the package, such as `"criteria.registry"`.
    """
    package = importlib.util.find_spec("resprune_tf").origin
    path = pathlib.Path(package).parent.joinpath(*name.split(".")).with_suffix(".py")
    # Another name than the library's, which may load the same file as a module.
    spec = importlib.util.spec_from_file_location(f"resprune_cli registry {name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up annotations there
    spec.loader.exec_module(module)
    return module
