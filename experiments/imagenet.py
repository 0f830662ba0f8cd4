"""Algorithm 1 on ImageNet, streamed from disk.

    python -m experiments.imagenet --flagfile=experiments/flagfiles/imagenet.txt \
        --manual_dir=FOLDER_OF_THE_TWO_ARCHIVES --data_dir=FOLDER_FOR_TFDS

tensorflow_datasets prepares the official archives in --manual_dir once and writes the
result to --data_dir. If --data_dir is prepared already, the archives are not needed.
Everything else is as in `experiments.cifar`. A run that was stopped or killed continues
inside the epoch.
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

for _module in (run_flags, model_flags, recipe_flags, removal_flags):
    flags.adopt_module_key_flags(_module)  # --helpshort shows them too

_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir",
    None,
    "Folder with ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar (image-net.org).",
)

DEFAULTS = {
    "depth": 50,
    "epochs": 90,
    "batch_size": 512,
    # 31/90 and 61/90 with all digits: a run from Python with these fractions is equal.
    "drops": ["0.34444444444444444", "0.6777777777777778"],
    "parts": 20,
}
# A whole run in minutes: the models at their full depth, on few images.
SMOKE = {
    "epochs": 1,
    "retrain_epochs": 1,
    "batch_size": 16,
    "parts": 2,
    "train_examples": 64,
    "validation_examples": 32,
    "test_examples": 32,
    "criterion_examples": 16,
    "export": [],
}


def apply_scale():
    """Sets the flags to the values of ImageNet and of the scale."""
    run_flags.apply_scale(DEFAULTS, SMOKE)


def load_dataset():
    """The `Dataset` that the flags request."""
    from resprune_tf.data.imagenet_files import load_imagenet

    return load_imagenet(
        data_dir=model_flags.DATA_DIR.value,
        manual_dir=_MANUAL_DIR.value,
        validation_examples=model_flags.VALIDATION_EXAMPLES.value or 10_000,
        train_examples=model_flags.TRAIN_EXAMPLES.value,
        test_examples=model_flags.TEST_EXAMPLES.value,
        seed=run_flags.SEED.value,
    )


def build_model(dataset):
    """The model to prune."""
    from resprune_tf import Architecture

    architecture = Architecture.imagenet(
        model_flags.DEPTH.value, **model_flags.architecture_fields(dataset)
    )
    return model_flags.build(architecture, dataset)


def main(argv):
    experiment.run(argv, sys.modules[__name__])


if __name__ == "__main__":
    app.run(main)
