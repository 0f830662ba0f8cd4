"""The variants of the benchmark that train and run the net with Keras.

`Ours` is what the commands and the library do; `Plain` is what a user of Keras would
write without it. The backend is the process's.
"""

import keras
import numpy as np

import resprune_tf as rp
from experiments.bench.clock import EpochClock, compiled, device
from experiments.bench.worker import timed, warm_up
from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.runs.environment import environment
from resprune_tf.training.trainer import Trainer

_MEAN, _STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of CIFAR-10


class Ours:
    """Our training, and inference on the net as it is and folded.

    Its numbers hold more work than those of the others: it shuffles, augments and
    normalises the images in the compiled step.
    """

    def __init__(self, settings):
        if settings["repeatable"]:
            rp.make_repeatable()
        self.settings = settings
        net = architecture(settings)
        images, labels = random_images(settings)
        split = Split(images, labels)
        dataset = Dataset(
            name="random",
            train=split,
            validation=split,
            test=split,
            class_names=tuple(map(str, range(net.num_classes))),
            mean=_MEAN,
            std=_STD,
            flip=True,
            crop_padding=4,
            source="random numbers",
        )
        recipe = rp.Recipe(
            epochs=1,
            batch_size=settings["batch_size"],
            precision=settings["precision"],
        )
        core = rp.build_resnet(net, mean=_MEAN, std=_STD)
        self.trainer = Trainer(core, dataset, recipe, seed=0)
        self.parameters = count(core)
        self.epoch = 0
        stock = rp.build_resnet(net, dtype=policy(settings))
        batches = np.split(normalised(images), settings["steps"])
        self.infer = compiled(stock, batches)
        self.infer_folded = compiled(rp.fold(stock), batches)

    def __call__(self, measure):
        examples = self.settings["steps"] * self.settings["batch_size"]
        if measure != "train":
            return timed(getattr(self, measure), examples)
        clock = EpochClock(self.trainer.model)
        measured = timed(lambda: self.train(clock), examples)
        check_finite(clock.loss)
        return {**measured, "outside": 1 - clock.inside / clock.epoch}

    def train(self, clock):
        """One epoch, as the loop of Algorithm 1 trains it."""
        recipe = self.trainer.recipe
        self.trainer.recipe = recipe.replace(epochs=self.epoch + 1, milestones=())
        self.trainer.fit(initial_epoch=self.epoch, callbacks=[clock])
        self.epoch += 1


class Plain:
    """Stock Keras: `fit` and `predict` on NumPy arrays, mixed precision by policy."""

    def __init__(self, settings):
        self.batch = settings["batch_size"]
        self.model = rp.build_resnet(architecture(settings), dtype=policy(settings))
        self.model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        self.parameters = count(self.model)
        images, self.labels = random_images(settings)
        self.images = normalised(images)

    def __call__(self, measure):
        run = {"train": self.train, "infer": self.infer}[measure]
        return timed(run, len(self.labels))

    def train(self):
        """One epoch."""
        history = self.model.fit(
            self.images, self.labels, batch_size=self.batch, verbose=0
        )
        check_finite(history.history["loss"][-1])

    def infer(self):
        """Logits of all images."""
        self.model.predict(self.images, batch_size=self.batch, verbose=0)


def architecture(settings):
    """The net that all variants share."""
    size = settings["image_size"]
    return rp.Architecture.cifar(
        settings["depth"],
        settings["unit_kind"],
        settings["width"],
        activation=settings["activation"],
        image_shape=(size, size, 3),
    )


def random_images(settings):
    """uint8 images and labels for all steps of an epoch."""
    rng = np.random.default_rng(0)
    examples = settings["steps"] * settings["batch_size"]
    size = settings["image_size"]
    images = rng.integers(0, 256, (examples, size, size, 3), "uint8")
    return images, rng.integers(0, 10, examples, "int32")


def normalised(images):
    """float32 images as a user of Keras would prepare them."""
    return (images.astype("float32") - np.float32(_MEAN)) / np.float32(_STD)


def policy(settings):
    """Keras's dtype policy of a variant."""
    return "mixed_bfloat16" if settings["precision"] == "bfloat16" else "float32"


def count(model):
    """Trainable parameters, ω included."""
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def check_finite(loss):
    """Raises if a training diverged: its time would mean nothing."""
    if not np.isfinite(loss):
        raise ArithmeticError("the loss is not finite")


def start(settings):
    """Builds and warms up a variant; see `experiments.bench.worker.serve`."""
    keras.utils.set_random_seed(0)
    if settings["path"] == "ours":
        rp.keep_memory()  # as the commands do
    variant = {"ours": Ours, "keras": Plain}[settings["path"]](settings)
    framework = __import__(keras.backend.backend())
    facts = {
        "parameters": variant.parameters,
        "device": device(),
        "commit": environment().get("commit", "unknown"),
        "versions": {
            "keras": keras.__version__,
            framework.__name__: framework.__version__,
        },
        **warm_up(variant, settings["measures"]),
    }
    return facts, variant
