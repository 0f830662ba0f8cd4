"""What `make bench` compares: ways to train and to run one and the same net."""

import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
TORCH_PYTHON = ".venv-bench-torch/bin/python"  # PyTorch stays out of .venv
MEASURES = {
    "train": "training",
    "infer": "inference",
    "infer_folded": "inference of the folded net",
}
_MEASURES_OF = {
    "ours": ("train", "infer", "infer_folded"),
    "keras": ("train", "infer"),
    "torch": ("train", "infer"),
}
_TITLES = {"ours": "this package", "keras": "plain Keras", "torch": "PyTorch"}
_BEFORE = "-before"  # ends the names of variants of another checkout
_BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to train and run the net, in a process of its own.

    Attributes:
        name: such as `"ours-jax-bfloat16"`.
        path: `"ours"`, `"keras"` (stock layers and `fit`) or `"torch"`.
        precision: `"float32"` or `"bfloat16"` (mixed).
        backend: of Keras; `""` for PyTorch.
        repeatable: whether TensorFlow runs one operation at a time.
        checkout: folder of another version of this package, or None for this one.
    """

    name: str
    path: str
    precision: str
    backend: str = ""
    repeatable: bool = False
    checkout: str | None = None

    @property
    def is_before(self):
        """Whether it is one of another checkout."""
        return self.name.endswith(_BEFORE)

    @property
    def title(self):
        """What it is, in words."""
        words = [_TITLES[self.path]]
        if self.is_before:
            words.append("before")
        if self.backend:
            words.append(f"on {_BACKENDS[self.backend]}")
        words.append(self.precision)
        return " ".join(words) + (", repeatable" if self.repeatable else "")

    @property
    def measures(self):
        """What is measured of it."""
        alone = self.repeatable or self.checkout
        return ("train",) if alone else _MEASURES_OF[self.path]

    @property
    def rival(self):
        """Name of our variant that it is judged against, or None if it is ours."""
        if self.path == "ours":
            return None
        backend = "jax-" if self.backend == "jax" else ""
        return f"ours-{backend}{self.precision}"

    @property
    def package(self):
        """What pip has to install for it."""
        return {"jax": "jax", "tensorflow": "tensorflow"}.get(self.backend, "torch")


# The one that all others are compared with.
DEFAULT = "ours-float32"
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(DEFAULT, "ours", "float32", "tensorflow"),
        Variant("ours-bfloat16", "ours", "bfloat16", "tensorflow"),
        Variant("ours-repeatable", "ours", "float32", "tensorflow", repeatable=True),
        Variant("keras-float32", "keras", "float32", "tensorflow"),
        Variant("keras-bfloat16", "keras", "bfloat16", "tensorflow"),
        Variant("torch-float32", "torch", "float32"),
        Variant("torch-bfloat16", "torch", "bfloat16"),
        Variant("ours-jax-float32", "ours", "float32", "jax"),
        Variant("ours-jax-bfloat16", "ours", "bfloat16", "jax"),
        Variant("keras-jax-float32", "keras", "float32", "jax"),
    )
}

# The names that a record may hold, in the order of a page.
ORDER = tuple(n for name in VARIANTS for n in (name, f"{name}{_BEFORE}"))


def chosen(names, before=None):
    """The variants of these names, in the order of `VARIANTS`.

    Args:
        names: of variants.
        before: folder of another checkout of this package: ours of its variants on
            TensorFlow follow, whose names end in `-before`.
    """
    found = [variant for variant in VARIANTS.values() if variant.name in names]
    ours = [v for v in found if v.path == "ours" and v.backend == "tensorflow"]
    if before is not None:
        found += [named(f"{v.name}{_BEFORE}", before) for v in ours if not v.repeatable]
    return found


def named(name, checkout=None):
    """The variant of a name in a record, also of one that ends in `-before`."""
    known = VARIANTS[name.removesuffix(_BEFORE)]
    return dataclasses.replace(known, name=name, checkout=checkout)
