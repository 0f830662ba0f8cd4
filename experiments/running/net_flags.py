"""Flags of the net and of its data that experiments share."""

from absl import flags

from experiments.running import budget

DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the data: of tfds, or of the original files. By default tfds looks in "
    "its own place (TFDS_DATA_DIR or ~/tensorflow_datasets).",
)
TRAIN_EXAMPLES = flags.DEFINE_integer(
    "train_examples", None, "Train on a subset of so many images.", lower_bound=1
)
VALIDATION_EXAMPLES = flags.DEFINE_integer(
    "validation_examples",
    None,
    "Images held out of the training images for selection. Default: 10,000 for "
    "ImageNet, 5,000 for CIFAR, 360 for the digits, a tenth of an archive.",
    lower_bound=1,
)
TEST_EXAMPLES = flags.DEFINE_integer(
    "test_examples", None, "Test on a subset of so many images.", lower_bound=1
)
DEPTH = flags.DEFINE_integer(
    "depth",
    56,
    "Layers of the net. CIFAR: 9n+2 (bottleneck) or 6n+2 (basic). ImageNet: 18, 34, "
    "50, 101 or 152; default 50.",
)
ACTIVATION = flags.DEFINE_enum(
    "activation", "pre", ["pre", "post"], "Pre- or post-activation units."
)
SHORTCUT = flags.DEFINE_enum(
    "shortcut", "projection", ["projection", "zero_pad"], "Where the shape changes."
)
_WITHOUT = flags.DEFINE_list(
    "without", [], "Units to leave out from the start, such as stage1_unit3."
)
_TWIN_OF = flags.DEFINE_string(
    "twin_of",
    None,
    "Folder of a run: leave out what its net of --of_round lost, to train the same net "
    "from scratch.",
)
OF_ROUND = flags.DEFINE_enum(
    "of_round",
    "selected",
    ["selected", "last"],
    "The round of the run of --twin_of, --epochs_of and --compute_of that counts: the "
    "one that held-out images selected, or the last.",
)
IMPORTANCE = flags.DEFINE_bool(
    "importance", True, "A learned scalar ω on each branch; plain nets have none."
)
_IMPORTANCE_L1 = flags.DEFINE_float(
    "importance_l1", 0.0, "L1 penalty on ω; the paper has none.", lower_bound=0
)


def architecture_fields(dataset):
    """Fields of the `Architecture` that flags and data decide."""
    return {
        "activation": ACTIVATION.value,
        "shortcut": SHORTCUT.value,
        "importance": IMPORTANCE.value,
        "num_classes": dataset.num_classes,
        "image_shape": dataset.image_shape,
    }


def build(architecture, dataset):
    """The model of an architecture, without the units that flags leave out."""
    from resprune_tf import build_resnet

    twin_of = _TWIN_OF.value
    lost = budget.lost(twin_of, OF_ROUND.value) if twin_of else []
    without = [*_WITHOUT.value, *lost]
    return build_resnet(
        architecture.without(without) if without else architecture,
        mean=dataset.mean,
        std=dataset.std,
        importance_l1=_IMPORTANCE_L1.value,
    )
