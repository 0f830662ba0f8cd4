"""Prepares the data of the command line as arrays that a model accepts."""

import dataclasses

import numpy as np

from resprune_cli.options.data_options import PIXELS
from resprune_cli.options.usage import WrongUse, warn
from resprune_cli.work.data_files import ImageFiles, sizes, splits_of
from resprune_cli.work.memory import check_memory
from resprune_tf import graph
from resprune_tf.data.augment import random_crop_flip
from resprune_tf.graph.outputs import decides, squashing
from resprune_tf.system.progress import say
from resprune_tf.system.wording import counted
from resprune_tf.training.data_check import check_scale


@dataclasses.dataclass(frozen=True)
class Data:
    """Examples in the form that a model accepts.

    Attributes:
        splits: dict from `"train"`, `"validation"` and, if there is one, `"test"` to
            `(x, y)`: arrays `(examples, ...)`; y is None without labels.
        description: source, splits and range of the examples, as text.
        divided: whether the validation examples were taken from the training examples.
        class_names: names of the classes in the order of their numbers, for a folder
            of images; otherwise None.
    """

    splits: dict
    description: str
    divided: bool = False
    class_names: tuple[str, ...] | None = None

    @property
    def labelled(self):
        """Whether there are labels."""
        return self.splits["train"][1] is not None

    @property
    def of_classes(self):
        """Whether labels are class numbers or one-hot rows."""
        return self.labelled and classes_of(self.splits["train"][1]) is not None

    @property
    def held_out(self):
        """The split to measure on: `"test"` if there is one."""
        return "test" if "test" in self.splits else "validation"


def read(args, model):
    """Reads `--data` and prepares them for a model.

    Args:
        args: parsed arguments of `add_data_options`.
        model: a functional `keras.Model` with one input.

    Returns:
        A `Data`.

    Raises:
        WrongUse: if the data cannot be read or do not fit the model; the message says
            what was found.
    """
    if len(model.inputs) != 1:
        raise WrongUse(
            f"'{model.name}' has {len(model.inputs)} inputs, but the command line "
            "supports only models with one input."
        )
    say(f"Reading {args.data} ...")
    shape = tuple(model.inputs[0].shape[1:])
    found = splits_of(args, shape)
    class_names = getattr(found["train"][0], "class_names", None)
    if class_names is not None:  # checked before any image is read
        check_classes(model, class_names, args)
    chosen, how = _rows(found, args)
    if isinstance(found["train"][0], ImageFiles):
        values = sum(len(rows) for _, rows in chosen.values()) * np.prod(shape)
        check_memory(args.data, int(values) * (1 if args.pixels == "raw" else 4))
    splits = {}
    for name, (split, rows) in chosen.items():
        pair = [_taken(each, rows) for each in found[split]]
        splits[name] = _prepared(*pair, model, args)
    counts = ", ".join(f"{len(x):,} {name}" for name, (x, _) in splits.items())
    x = splits["train"][0]
    return Data(
        splits,
        f"{args.data}: {counts} examples{how}{_classes(class_names)}; inputs "
        f"{x.dtype.name} of {'x'.join(map(str, x.shape[1:]))}, from {x.min():g} to "
        f"{x.max():g}",
        divided=bool(how),
        class_names=class_names,
    )


def check_classes(model, class_names, args):
    """Compares the classes of a folder of images with the outputs of a classifier.

    Prints a warning if the folder has fewer classes than the model. Other models than
    classifiers are not checked.

    Args:
        model: a functional `keras.Model`.
        class_names: names of the classes, in the order of their numbers.
        args: parsed arguments.

    Raises:
        WrongUse: if the folder has more classes than the model.
    """
    known = _known_classes(model)
    if known is None or len(class_names) == known:
        return
    text = (
        f"'{args.data}' has {_class_folders(class_names)}, but '{model.name}' "
        f"distinguishes {known:,} classes."
    )
    if len(class_names) > known:
        raise WrongUse(
            f"{text} Remove the folders of classes that the model does not know. The "
            "alphabetical order of the others must be the order of its outputs."
        )
    warn(
        f"{text} Folders are numbered from 0 in alphabetical order. If these are not "
        "the numbers in the training of the model, add an empty folder for each class "
        "that is missing.",
        args,
    )


def _known_classes(model):
    """Number of classes that a model distinguishes; None if it is no classifier."""
    if decides(model):
        return model.outputs[0].shape[1]
    single = len(model.outputs) == 1 and tuple(model.outputs[0].shape[1:]) == (1,)
    return 2 if single and squashing(model) == "sigmoid" else None


def _class_folders(class_names):
    last = len(class_names) - 1
    named = f"{class_names[0]} (0)"
    named += f" to {class_names[last]} ({last})" if last else ""
    return f"{counted(len(class_names), 'class folder')}, {named}"


def _classes(class_names):
    return "" if class_names is None else f"; {_class_folders(class_names)}"


def augmentation(args, images):
    """The augmentation of `--augment` for `FitData`; None without one.

    Args:
        args: parsed arguments.
        images: training inputs `(examples, height, width, channels)`. The border
            of a shifted image is filled with the mean of all images.

    Raises:
        WrongUse: if the inputs are not images.
    """
    if not args.augment:
        return None
    if images.ndim != 4:
        raise WrongUse(
            "--augment needs images (height, width, channels). Received: inputs of "
            f"shape {images.shape[1:]}. Leave --augment out."
        )
    fill = images.mean(axis=(0, 1, 2), dtype="float64").round(3).tolist()
    return random_crop_flip(
        padding=args.augment.get("crop", 0), flip="flip" in args.augment, fill=fill
    )


def sample(x, y, count, seed):
    """Chooses examples at random, and keeps their order.

    The first examples may all be of the same class.

    Args:
        x: array `(examples, ...)`.
        y: array of labels, one per example, or None.
        count: largest number of examples.
        seed: int.

    Returns:
        `(x, y)` of the chosen examples.
    """
    rows = _some(len(x), count, seed)
    return x[rows], None if y is None else y[rows]


def classes_of(y):
    """The class of each example, as `(examples,)`; None if labels are not classes.

    Args:
        y: labels: integers `(examples,)` or `(examples, 1)`, also as floats; or one-hot
            rows `(examples, classes)`.
    """
    if y.dtype.kind not in "fiub" or y.size == 0 or not np.array_equal(y, np.rint(y)):
        return None
    if y.size == len(y):
        return y.reshape(-1)
    one_hot = y.ndim == 2 and y.min() == 0 and np.all(np.count_nonzero(y, 1) == 1)
    return y.argmax(1) if one_hot and y.max() == 1 else None


def _some(whole, count, seed):
    """Indices of at most `count` of `whole` rows, chosen at random and sorted."""
    return np.sort(np.random.default_rng(seed).permutation(whole)[:count])


def _rows(found, args):
    """Chooses the rows of each split, so that unused image files are not read.

    Returns:
        dict from the name of a split to the name of the split in `found` that contains
        its rows, and their indices; and how they were chosen, as text.
    """
    rows = {name: (name, np.arange(len(x))) for name, (x, _) in found.items()}
    how = ""
    if "validation" not in rows:
        x, y = found["train"]
        train, held_out = _held_out(len(x), y, args)
        rows.update(train=("train", train), validation=("train", held_out))
        how = f" (validation held out from train with seed {args.seed})"
    if args.examples is not None:
        rows = {
            name: (split, of[_some(len(of), args.examples, args.seed)])
            for name, (split, of) in rows.items()
        }
    order = ("train", "validation", "test")
    return {name: rows[name] for name in order if name in rows}, how


def _taken(array, rows):
    """Rows of an array or of files; an array itself if all rows are used."""
    if array is None or (len(rows) == len(array) and isinstance(array, np.ndarray)):
        return array
    return array[rows]


def _held_out(whole, y, args):
    """Rows to train on and rows to hold out, with the same proportions of classes.

    Without classes, as in a regression, rows are divided at random.
    """
    from sklearn.model_selection import train_test_split

    if whole < 2:
        raise WrongUse(
            f"The data have {counted(whole, 'example')}, too few to hold some out for "
            "validation. Give more examples."
        )
    count, stratify = max(1, round(whole * args.hold_out)), None
    labels = None if y is None else classes_of(y)
    if labels is not None:
        classes, members = np.unique(labels, return_counts=True)
        if members.min() >= 2 and len(classes) <= min(count, whole - count):
            stratify = labels
    parts = train_test_split(
        np.arange(whole),
        test_size=count,
        random_state=args.seed,
        stratify=stratify,
    )
    return [np.sort(rows) for rows in parts]


def _prepared(x, y, model, args):
    """Converts inputs to the model's shape and range, and labels to one axis."""
    shape = tuple(model.inputs[0].shape[1:])
    if x.dtype.kind not in "fiub":
        raise WrongUse(
            f"Examples must be numbers. Received: {x.dtype} of shape {list(x.shape)}."
        )
    if len(shape) == 3 and x.ndim == 3 and shape[2] in (1, None):
        x = x[..., None]  # grey images without an axis of channels
    if not graph.fits(x.shape[1:], shape):
        raise WrongUse(
            f"'{model.name}' expects examples of {sizes(shape)}, but --data contains "
            f"examples of {sizes(x.shape[1:])}."
        )
    if args.pixels != "raw":
        if x.dtype != np.uint8:
            raise WrongUse(
                f"--pixels {args.pixels} is for pixels from 0 to 255 (uint8). The data "
                f"contain {x.dtype} from {x.min():g} to {x.max():g}. Leave --pixels "
                "out if the model expects this range."
            )
        if x.max() == 1:
            raise WrongUse(
                f"--pixels {args.pixels} is for pixels from 0 to 255. The data contain "
                "only 0 and 1, so they are scaled already. Leave --pixels out."
            )
        x = _scaled(x, args.pixels)
    if len(shape) == 3:
        try:
            check_scale(model, model.inputs[0], x, f"{args.data} (--pixels)")
        except ValueError as error:
            raise WrongUse(str(error)) from error
    if y is not None and y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "iub":
        y = y[:, 0]
    return x, y


def _scaled(x, name):
    """Inputs in float32 from pixels, uint8 `(examples, ..., channels)`."""
    pixels = PIXELS[name]
    if pixels.coloured and x.shape[-1] != 3:
        raise WrongUse(
            f"--pixels {name} is for images with 3 channels, red, green and blue. The "
            f"examples are {sizes(x.shape[1:])}. Give another --pixels "
            f"({', '.join(each for each in PIXELS if not PIXELS[each].coloured)})."
        )
    x = (x[..., ::-1] if pixels.reverse else x).astype("float32", order="C")
    # In place, because the inputs may fill most of the memory.
    x /= np.float32(pixels.divisor)
    x -= np.asarray(pixels.mean, "float32")
    x /= np.asarray(pixels.std, "float32")
    return x
