"""One part of the benchmark of several seeds, in a process of its own (JAX).

    python -m experiments.seeds_worker PART '{"depth": 29, ...}'

Prints a line of JSON for everything measured, as soon as it is.
"""

import json
import statistics
import sys
import time

import keras
import numpy as np

from experiments.bench_clock import device
from resprune_tf import Architecture, Recipe, build_resnet, find_units, remove_units
from resprune_tf.dataset import Dataset, Split
from resprune_tf.environment import environment
from resprune_tf.members import Member
from resprune_tf.side_by_side import SideBySide
from resprune_tf.training import Trainer, evaluate


class Clock(keras.callbacks.Callback):
    """When the epochs of a training ended."""

    def __init__(self):
        super().__init__()
        self.times = [time.perf_counter()]

    def on_epoch_end(self, epoch, logs=None):
        self.times.append(time.perf_counter())

    def seconds(self):
        """Of an epoch, and what the first one took beyond that."""
        first, *others = np.diff(self.times)
        epoch = statistics.median(others)
        return {"compile": first - epoch, "epoch": epoch}


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def made_up(settings):
    """Images of noise: as many as the steps of an epoch need."""
    rng = np.random.default_rng(0)
    size = settings["image_size"]

    def split(count):
        images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        return Split(images, rng.integers(0, 10, count, dtype=np.int32))

    measured = split(settings["evaluate_images"])
    return Dataset(
        name="noise",
        train=split(settings["steps"] * settings["batch_size"]),
        validation=measured,
        test=measured,
        class_names=tuple(map(str, range(10))),
        mean=(127.5,) * 3,
        std=(74.0,) * 3,
        flip=True,
        crop_padding=size // 8,
        source="made up",
    )


class Bench:
    """The nets of a benchmark, and its parts."""

    def __init__(self, settings):
        self.settings = settings
        self.dataset = made_up(settings)
        size = settings["image_size"]
        net = Architecture.cifar(
            settings["depth"], width=settings["width"], image_shape=(size, size, 3)
        )
        self.whole = build_resnet(net, mean=self.dataset.mean, std=self.dataset.std)
        self.recipe = Recipe(
            epochs=1 + settings["epochs"],
            batch_size=settings["batch_size"],
            precision=settings["precision"],
        )

    def nets(self, choice, members):
        """Nets that have lost other units each; another choice, other units."""
        names = [unit.name for unit in find_units(self.whole) if unit.removable]
        rng = np.random.default_rng(choice)
        return [
            remove_units(
                self.whole, rng.choice(names, self.settings["removed"], replace=False)
            )
            for _ in range(members)
        ]

    def alike(self):
        """Two nets that lost as many units of each stage, but not the same ones."""
        names = [unit.name for unit in find_units(self.whole) if unit.removable]
        lost = {"first": [], "last": []}
        for stage in range(3):
            share = [name for name in names if name.startswith(f"stage{stage + 1}_")]
            count = (self.settings["removed"] + stage) // 3
            lost["first"] += share[:count]
            lost["last"] += share[len(share) - count :]
        return [remove_units(self.whole, units) for units in lost.values()]

    def trainer(self, net, seed):
        return Trainer(net, self.dataset, self.recipe, seed)

    def removal(self, nets):
        """Nets one after another, each with a program of its own."""
        for seed, net in enumerate(nets):
            clock = Clock()
            self.trainer(net, seed).fit(callbacks=[clock])
            first, again = (
                timed(lambda net=net: evaluate(net, self.dataset.validation))
                for _ in range(2)
            )
            yield {
                **clock.seconds(),
                "evaluate_compile": first - again,
                "evaluate": again,
                "units": len(find_units(net)),
            }

    def masks(self, members, matmul=True):
        """Nets side by side in one program, for two rounds."""
        clock = Clock()
        side = SideBySide(self.whole, self.dataset, self.recipe, matmul=matmul)
        for choice in range(2):
            nets = self.nets(choice, members)
            clock = clock if choice == 0 else Clock()
            seats = [Member(self.trainer(net, seed)) for seed, net in enumerate(nets)]
            seats[0] = Member(seats[0].trainer, callbacks=[clock])
            side.fit(seats)
            first, again = (
                timed(lambda nets=nets: side.evaluate(nets, self.dataset.validation))
                for _ in range(2)
            )
            yield {
                **clock.seconds(),
                "evaluate_compile": first - again,
                "evaluate": again,
                "units": len(find_units(self.whole)),
            }

    def part(self, name):
        """Yields what a part measures."""
        members = self.settings["members"]
        if name == "removal":
            return self.removal([self.whole, *self.nets(0, members)])
        if name == "reuse":
            return self.removal(self.alike())
        if name == "masks":
            return self.masks(members)
        return self.masks(1, matmul=name == "one mask")


def main():
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    found = {"environment": environment(), "device": device()}
    print(json.dumps(found), flush=True)
    for measured in Bench(settings).part(name):
        rounded = {key: round(value, 4) for key, value in measured.items()}
        print(json.dumps(rounded), flush=True)


if __name__ == "__main__":
    main()
