"""Precisions of training, and the choice of one that the device supports natively."""

import contextlib
import pathlib
import re

import keras

PRECISIONS = ("float32", "bfloat16")
# The x86 instruction sets that multiply in bfloat16, as Linux spells them.
_X86 = {"avx512_bf16", "amx_bf16"}
_OLDEST_GPU = 8.0  # compute capability of Ampere, NVIDIA's first GPUs with bfloat16


def check_precision(precision: str) -> None:
    """Raises a ValueError unless a precision is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {', '.join(PRECISIONS)}. "
            f"Received: {precision!r}."
        )


def native_precision() -> str:
    """Returns the fastest training precision that the device supports natively.

    Returns:
        `"bfloat16"` on TPUs, on NVIDIA GPUs from Ampere on, and on x86 processors with
        AVX512_BF16 or AMX under Linux; else `"float32"`, because emulated bfloat16
        trains several times slower than float32.

    >>> recipe = Recipe(precision=native_precision())
    """
    return "bfloat16" if _computes_bfloat16() else "float32"


@contextlib.contextmanager
def exact_float32():
    """Context in which GPUs multiply float32 numbers without rounding them first.

    By default, GPUs from Ampere on round the factors to TensorFloat-32, which has the
    10 bits of float16 after the point. The same model can then classify some images
    differently than on a CPU.
    """
    if keras.backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
        return
    if keras.backend.backend() == "tensorflow":
        from tensorflow.config import experimental

        if experimental.tensor_float_32_execution_enabled():
            experimental.enable_tensor_float_32_execution(False)
            try:
                yield
            finally:
                experimental.enable_tensor_float_32_execution(True)
            return
    yield


def _computes_bfloat16():
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.local_devices()[0]
        if device.platform != "cpu":
            capability = getattr(device, "compute_capability", None)
            return capability is None or float(capability) >= _OLDEST_GPU
    elif backend == "tensorflow":
        from tensorflow import config

        gpus = config.list_physical_devices("GPU")
        if gpus:
            details = config.experimental.get_device_details(gpus[0])
            major, minor = details.get("compute_capability", (0, 0))
            return major + minor / 10 >= _OLDEST_GPU
    return bool(_X86 & _processor_flags())


def _processor_flags():
    """Instruction sets of the processor; empty if the system does not list them."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()
