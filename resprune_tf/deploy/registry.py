"""Formats and runtimes by name. The commands offer all that are listed here.

This module does not import Keras, so that commands can list them fast.
"""

import dataclasses
import functools
import importlib
import inspect
import os
import pathlib
from collections.abc import Callable

_LITERT = ("tensorflow", "ai_edge_litert")
_ONNX = ("tensorflow", "onnx", "tf2onnx", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of `export`.

    Attributes:
        file: name of the file or folder.
        writer: `"module:function"` in `resprune_tf.deploy`, a function
            `(model, path, calibration, **options)`.
        runtime: the runtime that loads and runs it; one of `runtimes.RUNTIMES`.
        tolerance: default of the accepted difference, relative to the largest output
            or 1.
        packages: modules, in addition to Keras, that write and run it.
        extra: name of the extra of this package that installs them; None if TensorFlow
            is sufficient.
        backends: Keras backends that can write it.
        from_saved_model: whether it is a SavedModel or converted from one. The rules of
            TensorFlow for paths, names of inputs and nested outputs then apply.
        calibrated: whether writing it measures the ranges of activations on examples.
        precision: precision of its weights.
        aliases: other names of the format.
        options: further arguments of the writer.
    """

    file: str
    writer: str
    runtime: str
    tolerance: float = 1e-5
    packages: tuple[str, ...] = ()
    extra: str | None = None
    backends: tuple[str, ...] = ("tensorflow",)
    from_saved_model: bool = True
    calibrated: bool = False
    precision: str = "float32"
    aliases: tuple[str, ...] = ()
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def write(self) -> Callable:
        """The function that writes it."""
        module, _, name = self.writer.partition(":")
        return getattr(importlib.import_module(f"resprune_tf.deploy.{module}"), name)


_litert = functools.partial(
    Format,
    writer="formats:write_litert_file",
    runtime="litert",
    packages=_LITERT,
    extra="litert",
)


FORMATS = {
    "saved_model": Format(
        "saved_model",
        "formats:write_saved_model",
        runtime="tensorflow",
        packages=("tensorflow",),
        backends=("tensorflow", "jax"),
    ),
    "keras": Format(
        "model.keras",
        "formats:write_keras",
        runtime="keras",
        backends=("tensorflow", "jax"),
        from_saved_model=False,
    ),
    "litert": _litert("model.tflite", aliases=("tflite",)),
    "litert_float16": _litert(
        "model_float16.tflite",
        tolerance=1e-2,
        precision="float16",
        aliases=("tflite_float16", "float16"),
        options={"quantise": "float16"},
    ),
    "litert_int8": _litert(
        "model_int8.tflite",
        tolerance=0.2,
        calibrated=True,
        precision="int8",
        aliases=("tflite_int8", "int8"),
        options={"quantise": "int8"},
    ),
    "onnx": Format(
        "model.onnx",
        "formats:write_onnx_file",
        runtime="onnxruntime",
        packages=_ONNX,
        extra="onnx",
    ),
}

# The format in which a Keras model is written for each runtime.
RUNTIME_FORMATS = {
    "tensorflow": "saved_model",
    "litert": "litert",
    "litert_float16": "litert_float16",
    "litert_int8": "litert_int8",
    "onnxruntime": "onnx",
}
ALIASES = {alias: name for name, each in FORMATS.items() for alias in each.aliases}
CALIBRATED = tuple(name for name, each in FORMATS.items() if each.calibrated)


def known_as(name: str) -> str:
    """Replaces the alias of a format or runtime by its name.

    >>> known_as("tflite"), known_as("onnx")
    ('litert', 'onnx')
    """
    return ALIASES.get(name, name)


def check_runtime(runtime: str) -> str:
    """Returns the name of a runtime, which may be given as by `runtime_named`.

    Raises:
        ValueError: if there is no such runtime.
    """
    if runtime_named(runtime) not in RUNTIME_FORMATS:
        raise ValueError(
            f"`runtime` must be one of {', '.join(RUNTIME_FORMATS)}. "
            f"Received: {runtime!r}."
        )
    return runtime_named(runtime)


def check_latency_fn(latency_fn) -> None:
    """Raises a TypeError unless `latency_fn` can be called."""
    if not callable(latency_fn):
        raise TypeError(
            "`latency_fn` must be a function of the path of a file that returns the "
            f"time of one call in milliseconds. Received: {latency_fn!r}."
        )


def name_of(function: Callable) -> str:
    """The name of a function or callable object, which is the same in every process.

    That is its `__name__`, if it has one. A `partial` has the name of its function, and
    the arguments that are numbers, text or paths.

    >>> name_of(functools.partial(print, "phone 1", end=""))
    "print('phone 1', end='')"
    """
    if isinstance(function, functools.partial) and not hasattr(function, "__name__"):
        arguments = [
            *map(_argument, function.args),
            *(f"{k}={_argument(v)}" for k, v in function.keywords.items()),
        ]
        return f"{name_of(function.func)}({', '.join(arguments)})"
    if inspect.ismethod(function):
        owner = function.__self__
        owner = owner if inspect.isclass(owner) else type(owner)
        return f"{owner.__name__}.{function.__name__}"
    return getattr(function, "__name__", type(function).__name__)


def _argument(value):
    plain = str, bytes, bool, int, float, type(None), os.PathLike
    return repr(value) if isinstance(value, plain) else type(value).__name__


def runtime_named(name: str) -> str:
    """The runtime of a name, which may also be that of its format, or an alias.

    >>> runtime_named("onnx"), runtime_named("tflite"), runtime_named("keras")
    ('onnxruntime', 'litert', 'keras')
    """
    runtimes = {form: runtime for runtime, form in RUNTIME_FORMATS.items()}
    return runtimes.get(known_as(name), known_as(name))


def runtime_of(path: str | os.PathLike) -> str | None:
    """The runtime of a written file or folder, from its name; None if unknown.

    LiteRT files of any precision have the runtime `"litert"`.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return "tensorflow" if (path / "saved_model.pb").exists() else None
    for runtime, name in RUNTIME_FORMATS.items():
        suffix = pathlib.Path(FORMATS[name].file).suffix
        if suffix and path.suffix == suffix:
            return runtime
    return None
