"""Algorithm 1 on small images: CIFAR-10, CIFAR-100, digits, or an .npz archive.

    python -m experiments.cifar --flagfile=experiments/flagfiles/demo.txt

Trains a residual network with importances, then removes units and retrains until the
target, and leaves records, a report and exported models in --run_dir. The same command
continues a run that was stopped or killed. Exit status: 0 when finished or when the
time budget ended the run, 1 for wrong flags or missing data, 128 + the signal's number
when a signal ended it.
"""

import pathlib
import sys

from absl import app, flags

from experiments import run_flags, running

flags.adopt_module_key_flags(run_flags)  # --helpshort shows them too

_DATASET = flags.DEFINE_string(
    "dataset", "cifar10", "digits, cifar10, cifar100, or the path of an .npz archive."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of CIFAR: of tfds, or of the original binary files. By default tfds looks "
    "in its own place (TFDS_DATA_DIR or ~/tensorflow_datasets).",
)
_DATA_SOURCE = flags.DEFINE_enum(
    "data_source", "auto", ["auto", "tfds", "binary"], "Where to read CIFAR from."
)
_TRAIN_EXAMPLES = flags.DEFINE_integer(
    "train_examples", None, "Train on a subset of so many images.", lower_bound=1
)
_VALIDATION_EXAMPLES = flags.DEFINE_integer(
    "validation_examples",
    None,
    "Images held out of the training images for selection. Default: 5,000 for CIFAR, "
    "360 for the digits, a tenth of an archive.",
    lower_bound=1,
)
_TEST_EXAMPLES = flags.DEFINE_integer(
    "test_examples", None, "Test on a subset of so many images.", lower_bound=1
)
_DEPTH = flags.DEFINE_integer(
    "depth", 56, "Layers of the net: 9n+2 (bottleneck) or 6n+2 (basic)."
)
_UNIT_KIND = flags.DEFINE_enum(
    "unit_kind", "bottleneck", ["bottleneck", "basic"], "Kind of residual unit."
)
_ACTIVATION = flags.DEFINE_enum(
    "activation", "pre", ["pre", "post"], "Pre- or post-activation units."
)
_SHORTCUT = flags.DEFINE_enum(
    "shortcut", "projection", ["projection", "zero_pad"], "Where the shape changes."
)
_WITHOUT = flags.DEFINE_list(
    "without", [], "Units to leave out from the start, such as stage1_unit3."
)
_TWIN_OF = flags.DEFINE_string(
    "twin_of",
    None,
    "Folder of a run: leave out what its chosen net lost, to train the same net from "
    "scratch.",
)
_IMPORTANCE = flags.DEFINE_bool(
    "importance", True, "A learned scalar ω on each branch; plain nets have none."
)
_WIDTH = flags.DEFINE_integer(
    "width", 16, "Inner channels of the first stage.", lower_bound=1
)
_IMPORTANCE_L1 = flags.DEFINE_float(
    "importance_l1", 0.0, "L1 penalty on ω; the paper has none.", lower_bound=0
)


def _load_dataset():
    from resprune_tf.data import load_dataset

    return load_dataset(
        _DATASET.value,
        data_dir=_DATA_DIR.value,
        source=_DATA_SOURCE.value,
        validation_examples=_VALIDATION_EXAMPLES.value,
        train_examples=_TRAIN_EXAMPLES.value,
        test_examples=_TEST_EXAMPLES.value,
        seed=run_flags.data_seed(),
    )


def _build_model(dataset):
    from resprune_tf import Architecture, build_resnet

    architecture = Architecture.cifar(
        _DEPTH.value,
        _UNIT_KIND.value,
        _WIDTH.value,
        activation=_ACTIVATION.value,
        shortcut=_SHORTCUT.value,
        importance=_IMPORTANCE.value,
        num_classes=dataset.num_classes,
        image_shape=dataset.image_shape,
    )
    twin_of = _TWIN_OF.value and _TWIN_OF.value.format(seed=run_flags.SEED.value)
    without = [*_WITHOUT.value, *_lost_in(twin_of)]
    return build_resnet(
        architecture.without(without) if without else architecture,
        mean=dataset.mean,
        std=dataset.std,
        importance_l1=_IMPORTANCE_L1.value,
    )


def _lost_in(run_dir):
    """Units that the chosen net of a finished run lost."""
    if run_dir is None:
        return []
    from resprune_tf import RunDirectoryError
    from resprune_tf.records import read_json, read_lines

    final = read_json(pathlib.Path(run_dir) / "final.json")
    if final is None:
        raise RunDirectoryError(f"'{run_dir}' holds no finished run to be a twin of.")
    rounds = read_lines(pathlib.Path(run_dir) / "rounds.jsonl")
    return [
        unit
        for line in rounds[: final["selected_round"] + 1]
        for unit in line["removed"]
    ]


def main(argv):
    if len(argv) > 1:
        sys.exit(f"error: unknown argument {argv[1]!r}; every flag begins with --")
    running.run(_load_dataset, _build_model, sys.modules[__name__])


if __name__ == "__main__":
    app.run(main)
