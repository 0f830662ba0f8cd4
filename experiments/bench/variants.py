"""The variants that `make bench` compares: ways to train and run the same model."""

import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
TORCH_PYTHON = ".venv-bench-torch/bin/python"  # PyTorch stays out of .venv
_TITLES = {"ours": "this package", "keras": "plain Keras", "torch": "PyTorch"}
_BACKENDS = {"tensorflow": " on TensorFlow", "jax": " on JAX", "": ""}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to train and run the model.

    Attributes:
        path: `"ours"`, `"keras"` (stock layers and `fit`) or `"torch"`.
        precision: `"float32"` or `"bfloat16"` (mixed).
        backend: backend of Keras; `""` for PyTorch.
        repeatable: whether TensorFlow runs one operation at a time.
    """

    path: str
    precision: str
    backend: str = "tensorflow"
    repeatable: bool = False

    @property
    def title(self):
        """The variant in words."""
        words = f"{_TITLES[self.path]}{_BACKENDS[self.backend]} {self.precision}"
        return words + (", repeatable" if self.repeatable else "")

    @property
    def measures(self):
        """Names of the measured methods, training first."""
        if self.repeatable:
            return ("train",)
        folded = ("infer_folded",) if self.path == "ours" else ()
        return ("train", *folded, "infer")

    @property
    def reference(self):
        """Name of the variant that this one is compared with."""
        if self.path == "ours":
            return DEFAULT
        return f"ours-{'jax-' if self.backend == 'jax' else ''}{self.precision}"


DEFAULT = "ours-float32"
VARIANTS = {
    DEFAULT: Variant("ours", "float32"),
    "ours-bfloat16": Variant("ours", "bfloat16"),
    "ours-repeatable": Variant("ours", "float32", repeatable=True),
    "keras-float32": Variant("keras", "float32"),
    "keras-bfloat16": Variant("keras", "bfloat16"),
    "torch-float32": Variant("torch", "float32", ""),
    "torch-bfloat16": Variant("torch", "bfloat16", ""),
    "ours-jax-float32": Variant("ours", "float32", "jax"),
    "ours-jax-bfloat16": Variant("ours", "bfloat16", "jax"),
    "keras-jax-float32": Variant("keras", "float32", "jax"),
}
