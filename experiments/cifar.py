"""Algorithm 1 on small images: CIFAR-10, CIFAR-100, digits, or an .npz archive.

    python -m experiments.cifar --flagfile=experiments/flagfiles/demo.txt

Trains a residual network with importances, then removes units and retrains until the
target, and leaves records, a report and exported models in --run_dir. The same command
continues a run that was stopped or killed. Exit status: 0 when finished or when the
time budget ended the run, 1 for wrong flags or missing data, 128 + the signal's number
when a signal ended it.
"""

import sys

from absl import app, flags

from experiments.running import (
    experiment,
    net_flags,
    recipe_flags,
    removal_flags,
    run_flags,
)
from resprune_cli.options.registries import registry

for _module in (run_flags, net_flags, recipe_flags, removal_flags):
    flags.adopt_module_key_flags(_module)  # --helpshort shows them too

_KNOWN = registry("data.registry")
_DATASET = flags.DEFINE_string(
    "dataset", "cifar10", f"{', '.join(_KNOWN.NAMES)}, or the path of an .npz archive."
)
_DATA_SOURCE = flags.DEFINE_enum(
    "data_source", "auto", ["auto", *_KNOWN.SOURCES], "Where to read CIFAR from."
)
_UNIT_KIND = flags.DEFINE_enum(
    "unit_kind", "bottleneck", ["bottleneck", "basic"], "Kind of residual unit."
)
_WIDTH = flags.DEFINE_integer(
    "width", 16, "Inner channels of the first stage.", lower_bound=1
)

# Every net of the paper at its depth, in a run of a minute.
SMOKE = {
    "width": 2,
    "epochs": 2,
    "retrain_epochs": 1,
    "batch_size": 64,
    "train_examples": 256,
    "validation_examples": 100,
    "test_examples": 100,
    "criterion_examples": 64,
    "export": [],
}


def apply_scale():
    """Gives flags the values of the scale."""
    run_flags.apply_scale({}, SMOKE)


def load_dataset():
    """The `Dataset` that the flags ask for."""
    from resprune_tf.data.loading import load_dataset

    return load_dataset(
        _DATASET.value,
        data_dir=net_flags.DATA_DIR.value,
        source=_DATA_SOURCE.value,
        validation_examples=net_flags.VALIDATION_EXAMPLES.value,
        train_examples=net_flags.TRAIN_EXAMPLES.value,
        test_examples=net_flags.TEST_EXAMPLES.value,
        seed=run_flags.data_seed(),
    )


def build_model(dataset):
    """The model to shorten."""
    from resprune_tf import Architecture

    architecture = Architecture.cifar(
        net_flags.DEPTH.value,
        _UNIT_KIND.value,
        _WIDTH.value,
        **net_flags.architecture_fields(dataset),
    )
    return net_flags.build(architecture, dataset)


def main(argv):
    experiment.run(argv, sys.modules[__name__])


if __name__ == "__main__":
    app.run(main)
