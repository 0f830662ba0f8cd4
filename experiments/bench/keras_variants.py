"""The variants of the benchmark that train and run the model with Keras.

`Ours` uses this package; `Plain` is what a user of Keras would write without it. Both
use the backend of the process.
"""

import keras
import numpy as np

import resprune_tf as rp
from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.runs.environment import environment
from resprune_tf.training.trainer import Trainer

# So many that the statistics of BatchNormalization are not re-estimated after the
# measured epoch, as after a real training.
_EPOCHS = 1000
_MEAN, _STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of CIFAR-10


class Plain:
    """Stock Keras: `fit` and `predict` on NumPy arrays, mixed precision by policy."""

    def __init__(self, settings):
        bfloat16 = settings["precision"] == "bfloat16"
        policy = "mixed_bfloat16" if bfloat16 else "float32"
        self.batch = settings["batch_size"]
        self.model = rp.build_resnet(architecture(settings), dtype=policy)
        self.model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        pixels, self.labels = random_images(settings)
        # float32 images, as a user of Keras would prepare them.
        images = pixels.astype("float32")
        self.images = (images - np.float32(_MEAN)) / np.float32(_STD)

    def facts(self):
        """Parameters of the model, device and versions."""
        found = environment()
        count, devices = found["devices"].split(" ", 1)
        return {
            # ω included.
            "parameters": sum(
                int(np.prod(v.shape)) for v in self.model.trainable_variables
            ),
            "device": devices,
            "versions": {name: found[name] for name in ("keras", found["backend"])},
        }

    def train(self):
        """One epoch."""
        history = self.model.fit(
            self.images, self.labels, batch_size=self.batch, verbose=0
        )
        check_finite(history)

    def infer(self):
        """Logits of all images."""
        self.model.predict(self.images, batch_size=self.batch, verbose=0)


class Ours(Plain):
    """Training of this package, and inference with the model as it is and folded.

    Unlike the other variants, this one also shuffles, augments and normalises the
    images in the compiled step.
    """

    def __init__(self, settings):
        rp.keep_memory()  # as the commands do
        if settings["repeatable"]:
            rp.make_repeatable()
        super().__init__(settings)
        described = architecture(settings)
        split = Split(*random_images(settings))
        dataset = Dataset(
            name="random",
            train=split,
            validation=split,
            test=split,
            class_names=tuple(map(str, range(described.num_classes))),
            mean=_MEAN,
            std=_STD,
            flip=True,
            crop_padding=4,
            source="random numbers",
        )
        core = rp.build_resnet(described, mean=_MEAN, std=_STD)
        recipe = rp.Recipe(
            _EPOCHS, self.batch, milestones=(), precision=settings["precision"]
        )
        self.trainer = Trainer(core, dataset, recipe, seed=0)
        self.folded = rp.fold(self.model)

    def train(self):
        """One epoch, trained as in Algorithm 1."""
        history = keras.callbacks.History()
        self.trainer.fit(initial_epoch=_EPOCHS - 1, callbacks=[history])
        check_finite(history)

    def infer(self, model=None):
        """Logits of all images, with one compiled call per batch."""
        for start in range(0, len(self.images), self.batch):
            batch = self.images[start : start + self.batch]
            (model or self.model).predict_on_batch(batch)

    def infer_folded(self):
        """Logits of all images from the folded model."""
        self.infer(self.folded)


def architecture(settings):
    """The architecture that all variants share."""
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


def check_finite(history):
    """Raises an error if the training diverged, which makes its time meaningless."""
    if not np.isfinite(history.history["loss"][-1]):
        raise ArithmeticError("the loss is not finite")


def make(settings):
    """The variant for some settings."""
    keras.utils.set_random_seed(0)
    return {"ours": Ours, "keras": Plain}[settings["path"]](settings)
