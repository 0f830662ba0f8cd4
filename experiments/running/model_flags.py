"""Flags of the model and its data that the experiments share."""

from absl import flags

from experiments.running import budget

DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the data, either of tensorflow_datasets or of the original files. "
    "Default: TFDS_DATA_DIR or ~/tensorflow_datasets.",
)
TRAIN_EXAMPLES = flags.DEFINE_integer(
    "train_examples", None, "Number of training images to use.", lower_bound=1
)
VALIDATION_EXAMPLES = flags.DEFINE_integer(
    "validation_examples",
    None,
    "Number of training images held out for selection. Default: 10,000 for "
    "ImageNet, 5,000 for CIFAR, 360 for the digits, a tenth of an archive.",
    lower_bound=1,
)
TEST_EXAMPLES = flags.DEFINE_integer(
    "test_examples", None, "Number of test images to use.", lower_bound=1
)
DEPTH = flags.DEFINE_integer(
    "depth",
    56,
    "Layers of the model. CIFAR: 9n+2 (bottleneck) or 6n+2 (basic). ImageNet: 18, 34, "
    "50, 101 or 152; default 50.",
)
ACTIVATION = flags.DEFINE_enum(
    "activation", "pre", ["pre", "post"], "Pre- or post-activation units."
)
SHORTCUT = flags.DEFINE_enum(
    "shortcut",
    "projection",
    ["projection", "zero_pad"],
    "Shortcut of units that change the shape.",
)
_WITHOUT = flags.DEFINE_list(
    "without", [], "Units to leave out from the start, such as stage1_unit3."
)
_TWIN_OF = flags.DEFINE_string(
    "twin_of",
    None,
    "Folder of a run: leave out the units that it removed up to --of_round, to train "
    "the same architecture from scratch.",
)
OF_ROUND = flags.DEFINE_enum(
    "of_round",
    "selected",
    ["selected", "last"],
    "Round of the run of --twin_of, --epochs_of and --compute_of: the one that was "
    "selected on held-out images, or the last.",
)
IMPORTANCE = flags.DEFINE_bool(
    "importance", True, "Learned scalar ω on each branch; plain models have none."
)
_IMPORTANCE_L1 = flags.DEFINE_float(
    "importance_l1", 0.0, "L1 penalty on ω; the paper uses none.", lower_bound=0
)


def architecture_fields(dataset):
    """Fields of the `Architecture` that flags and data determine."""
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
    removed = budget.removed_units(twin_of, OF_ROUND.value) if twin_of else []
    without = [*_WITHOUT.value, *removed]
    return build_resnet(
        architecture.without(without) if without else architecture,
        mean=dataset.mean,
        std=dataset.std,
        importance_l1=_IMPORTANCE_L1.value,
    )
