"""Algorithm 1 on small images: CIFAR-10, CIFAR-100, digits, or an .npz archive.

    python -m experiments.cifar --flagfile=experiments/flagfiles/demo.txt

Trains a residual network with importances, then removes units and retrains until the
target is reached. Writes records, a report and exported models to --run_dir. The same
command continues a run that was stopped or killed. Exit status: 0 when finished or when
the time budget ended the run, 1 for wrong flags or missing data, 128 + the number of
the signal that stopped it.
"""

import sys

from absl import app, flags

from experiments.running import (
    experiment,
    model_flags,
    recipe_flags,
    removal_flags,
    run_flags,
)
from resprune_cli.options.registries import registry

for _module in (run_flags, model_flags, recipe_flags, removal_flags):
    flags.adopt_module_key_flags(_module)  # --helpshort shows them too

_KNOWN = registry("data.registry")
_DATASET = flags.DEFINE_string(
    "dataset",
    "cifar10",
    f"Data set: {', '.join(_KNOWN.NAMES)}, or the path of an .npz archive.",
)
_DATA_SOURCE = flags.DEFINE_enum(
    "data_source", "auto", ["auto", *_KNOWN.SOURCES], "Source to read CIFAR from."
)
_UNIT_KIND = flags.DEFINE_enum(
    "unit_kind", "bottleneck", ["bottleneck", "basic"], "Kind of residual unit."
)
_WIDTH = flags.DEFINE_integer(
    "width", 16, "Inner channels of the units of the first stage.", lower_bound=1
)

# Every model of the paper at its full depth, in a run of about a minute.
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
    """Sets the flags to the values of the scale."""
    run_flags.apply_scale({}, SMOKE)


def load_dataset():
    """The `Dataset` that the flags request."""
    from resprune_tf.data.loading import load_dataset

    return load_dataset(
        _DATASET.value,
        data_dir=model_flags.DATA_DIR.value,
        source=_DATA_SOURCE.value,
        validation_examples=model_flags.VALIDATION_EXAMPLES.value,
        train_examples=model_flags.TRAIN_EXAMPLES.value,
        test_examples=model_flags.TEST_EXAMPLES.value,
        seed=run_flags.SEED.value,
    )


def build_model(dataset):
    """The model to prune."""
    from resprune_tf import Architecture

    architecture = Architecture.cifar(
        model_flags.DEPTH.value,
        _UNIT_KIND.value,
        _WIDTH.value,
        **model_flags.architecture_fields(dataset),
    )
    return model_flags.build(architecture, dataset)


def main(argv):
    experiment.run(argv, sys.modules[__name__])


if __name__ == "__main__":
    app.run(main)
