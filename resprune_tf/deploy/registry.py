"""All formats and runtimes by name. To add one, add a line: the commands read it.

Pure Python, so that a command can list them before anything else is imported.
"""

import dataclasses
import importlib
from collections.abc import Callable

_LITERT = ("tensorflow", "ai_edge_litert")
_ONNX = ("tensorflow", "onnx", "tf2onnx", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        file: the name of what is written.
        writer: `"module:function"` in `resprune_tf.deploy`, of a function
            `(model, path, calibration, **options)`.
        runtime: what loads and runs it; one of `runtimes.RUNTIMES`.
        tolerance: default of the largest difference allowed, relative to the largest
            output or 1.
        packages: modules that writing and running it need, beside Keras.
        extra: the extra of this package that installs them, if TensorFlow is not all.
        backends: Keras backends on which it is written.
        options: further arguments of the writer.
    """

    file: str
    writer: str
    runtime: str
    tolerance: float = 1e-5
    packages: tuple[str, ...] = ()
    extra: str | None = None
    backends: tuple[str, ...] = ("tensorflow",)
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def write(self) -> Callable:
        """The function that writes it."""
        module, _, name = self.writer.partition(":")
        return getattr(importlib.import_module(f"resprune_tf.deploy.{module}"), name)


def _litert(file, tolerance=1e-5, **options):
    writer = "formats:write_litert_file"
    return Format(
        file, writer, "litert", tolerance, _LITERT, extra="litert", options=options
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
    ),
    "litert": _litert("model.tflite"),
    "litert_float16": _litert("model_float16.tflite", 1e-2, quantise="float16"),
    "litert_int8": _litert("model_int8.tflite", 0.2, quantise="int8"),
    "onnx": Format(
        "model.onnx",
        "formats:write_onnx_file",
        runtime="onnxruntime",
        packages=_ONNX,
        extra="onnx",
    ),
}

# The format in which each runtime gets a Keras model.
RUNTIME_FORMATS = {
    "tensorflow": "saved_model",
    "litert": "litert",
    "litert_float16": "litert_float16",
    "litert_int8": "litert_int8",
    "onnxruntime": "onnx",
}
