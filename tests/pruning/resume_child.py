"""A small run in a process of its own, which can be told to die at a given write.

    python -m tests.pruning.resume_child RUN_DIR [WRITE MOMENT]

With WRITE and MOMENT the process kills itself with SIGKILL at its WRITE-th write of a
file: `during` it, when half the bytes are there, or `after` it.
"""

import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402

from resprune_tf import Recipe, Removal, RunOptions, prune_and_retrain  # noqa: E402
from resprune_tf.runs import callbacks  # noqa: E402
from tests.conftest import shallow_net, toy_dataset  # noqa: E402


def die_at(write, moment):
    """Replaces the rename that ends every write by one that may never come."""
    replace = os.replace
    count = 0

    def dying(source, target):
        nonlocal count
        count += 1
        if count == write and moment == "during":
            content = pathlib.Path(source).read_bytes()
            pathlib.Path(source).write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if count == write:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying


def run(run_dir):
    """The run, or what is left of it; returns its result."""
    keras.utils.set_random_seed(0)
    recipe = Recipe(epochs=3, batch_size=16, learning_rate=0.05)
    return prune_and_retrain(
        shallow_net(),
        toy_dataset(),
        recipe,
        retrain_recipe=recipe.replace(epochs=2),
        removal=Removal(units_per_round=2),
        run=RunOptions(run_dir, seed=4),
    )


def main():
    run_dir, *death = sys.argv[1:]
    if death:
        die_at(int(death[0]), death[1])
    callbacks.SAVING_SHARE = float("inf")  # save after every epoch, short as they are
    run(run_dir)


if __name__ == "__main__":
    main()
