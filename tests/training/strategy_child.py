"""Small trainings under a strategy, in a process of their own.

    python -m tests.training.strategy_child FOLDER STRATEGY [CASE ...]

Leaves what a strategy came to in FOLDER/STRATEGY-WORKER.npz, and the records of its
run in FOLDER/STRATEGY.
"""

import dataclasses
import json
import os
import pathlib
import sys
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import resprune_tf as rp  # noqa: E402
from resprune_tf.training.trainer import Trainer  # noqa: E402
from tests.conftest import toy_dataset  # noqa: E402

RECIPE = rp.Recipe(
    epochs=2, batch_size=16, learning_rate=0.05, l2=0.01, schedule="linear"
)


def prepare():
    """What has to come before the first operation: two devices of one processor."""
    rp.make_repeatable()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        processor = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(processor, two)


def net(units=1, l1=0.1):
    """Residual units, of which the first is to go; one suffices where all stay."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 64, -1.5)(image)
    x = layers.Conv2D(4, 3, padding="same")(x)
    for number in range(1, units + 1):
        branch = layers.BatchNormalization(momentum=0.5, name=f"norm{number}")(x)
        branch = layers.Conv2D(4, 3, padding="same", activation="relu")(branch)
        scale = keras.initializers.Constant(0.4 * number)
        branch = rp.ImportanceScale(scale, l1=l1, name=f"importance{number}")(branch)
        x = layers.Add(name=f"unit{number}")([x, branch])
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


def training(strategy, core, data, recipe=RECIPE, orders=None):
    """Trains; returns losses and accuracies of the epochs, and the variables."""
    trainer = Trainer(core, data, recipe, seed=3, strategy=strategy)
    if orders is not None:
        trainer._orders = lambda epochs: orders
    history = keras.callbacks.History()
    trainer.fit(callbacks=[history])
    logs = [history.history[name] for name in ("loss", "accuracy")]
    return [np.array(values) for values in (*logs, *core.get_weights())]


def frozen(strategy):
    """Augmented images, and BatchNormalization that takes no statistics."""
    core = net()
    core.get_layer("norm1").trainable = False
    return training(strategy, core, toy_dataset())


class Stream:
    """Images of the toy data in a stream, shared as `StreamedSplit` shares them."""

    image_shape = (8, 8, 3)

    def __len__(self):
        return 64

    def training(
        self,
        batch_size,
        seed,
        steps_per_epoch,
        first_step,
        replicas,
        pipelines,
        pipeline,
    ):
        import tensorflow as tf

        split = toy_dataset().train
        rows = np.random.default_rng(seed).integers(0, 64, (8, batch_size))
        rows = np.ravel(rows[first_step:, pipeline::pipelines])
        images, labels = split.images[rows].astype("float32"), split.labels[rows]
        data = tf.data.Dataset.from_tensor_slices((images, labels))
        return data.batch(batch_size // replicas).repeat()


def streamed(strategy):
    """Images that are not in memory, and parts of epochs; no statistics."""
    core = net()
    core.get_layer("norm1").trainable = False
    data = dataclasses.replace(toy_dataset(), train=Stream())
    return training(strategy, core, data, RECIPE.replace(parts=2))


def halves(strategy):
    """Batches whose halves are the same images, not augmented."""
    data = dataclasses.replace(toy_dataset(), crop_padding=0, flip=False)
    rows = np.random.default_rng(0).integers(0, 64, (2, 4, 8)).astype("int32")
    return training(strategy, net(), data, orders=np.concatenate([rows, rows], axis=2))


def statistics(strategy):
    """The mean that a BatchNormalization keeps after one step."""
    core = net()
    recipe = RECIPE.replace(epochs=1, batch_size=64)
    # What is taken over the replicas, not what is estimated anew after so short a fit.
    with mock.patch("resprune_tf.training.trainer.refresh_statistics", return_value=0):
        training(strategy, core, toy_dataset(), recipe)
    mean = core.get_layer("norm1").moving_mean
    return [keras.ops.convert_to_numpy(mean)]


def own_terms(strategy):
    """Arrays, a loss and an optimizer of one's own, and a teacher; no statistics."""
    model = net()
    model.get_layer("norm1").trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A third of the operations of Adam, and still with a state to keep.
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, loss, metrics=["accuracy"])
    split = toy_dataset().train
    arrays = split.images.astype("float32"), split.labels
    result = rp.prune_and_retrain(
        model,
        rp.FitData(arrays, arrays, batch_size=16),
        rp.FitRecipe(epochs=2),
        guidance=rp.Guidance(),
        removal=rp.Removal(max_rounds=1),
        run=rp.RunOptions(strategy=strategy, verbose=False),
    )
    return [list(r.validation.values()) for r in result.rounds] + [
        keras.ops.convert_to_numpy(weight) for weight in result.model.weights
    ]


def shorten(strategy, run_dir, **arguments):
    return rp.prune_and_retrain(
        net(2, l1=0.0),
        toy_dataset(),
        RECIPE,
        guidance=rp.Guidance(),
        removal=rp.Removal(target=rp.Target(units=1)),
        run=rp.RunOptions(run_dir, strategy=strategy, verbose=False, **arguments),
    )


def run(strategy, folder):
    """A run that the chief is asked to stop, continued."""
    state = folder / "state.npz"
    if strategy.replicas > 1:
        chief = strategy.is_chief
        try:
            shorten(
                strategy,
                folder,
                should_stop=lambda: "enough" if chief and state.exists() else None,
            )
        except rp.RunInterrupted as interruption:
            print("stopped:", interruption)
    result = shorten(strategy, folder)
    print("removed:", [record.removed for record in result.rounds])
    print("accuracies:", [record.test["accuracy"] for record in result.rounds])
    return result.model.get_weights()


def deletion(strategy):
    """A fit of one's own, on a model that was made under the strategy."""
    with strategy.scope():
        model = net(2)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    data = toy_dataset().train
    shorter, _ = rp.fit_with_deletion(
        model,
        rp.LayerDeletion(epochs=1, target=rp.Target(units=1)),
        data.images.astype("float32"),
        data.labels,
        batch_size=16,
        verbose=0,
    )
    replicas = shorter.distribute_strategy.num_replicas_in_sync
    print("deleted:", [unit.name for unit in rp.find_units(shorter)], replicas)
    return shorter.get_weights()


def refusal(strategy, worker, folder):
    """Workers that were started with different settings."""
    try:
        shorten(strategy, folder, seed=worker)
    except ValueError as error:
        print("refused:", error)


CASES = {
    "frozen": frozen,
    "streamed": streamed,
    "halves": halves,
    "statistics": statistics,
    "deletion": deletion,
    "own": own_terms,
}
EXACT = ("frozen", "streamed", "halves", "statistics", "own")


def outcome(strategy, folder, cases=EXACT):
    """The arrays of some cases and of a run, by name."""
    found = {case: CASES[case](strategy) for case in cases}
    found["run"] = run(strategy, folder)
    return {
        f"{case}-{index:02}": array
        for case, arrays in found.items()
        for index, array in enumerate(arrays)
    }


def main():
    folder, name, *cases = sys.argv[1:]
    folder = pathlib.Path(folder)
    config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    worker = config.get("task", {}).get("index", 0)
    prepare()
    strategy = rp.training_strategy(name)
    print(f"{name}: {strategy.replicas} replicas, chief: {strategy.is_chief}")
    if name == "multiworker":
        refusal(strategy, worker, folder / "refused")
    found = outcome(strategy, folder / name, cases)
    np.savez(folder / f"{name}-{worker}.npz", **found)


if __name__ == "__main__":
    main()
