"""Data that people have without Python, as arrays that fit a model."""

import dataclasses
import pathlib
import zipfile

import numpy as np

from resprune_cli.usage import WrongUse

# Names under which an .npz file may hold what is wanted, the first ones preferred.
_NAMES = {
    ("train", "x"): ("x", "images", "x_train", "train_images"),
    ("train", "y"): ("y", "labels", "y_train", "train_labels"),
    ("validation", "x"): ("x_val", "x_validation"),
    ("validation", "y"): ("y_val", "y_validation"),
    ("test", "x"): ("x_test", "test_images"),
    ("test", "y"): ("y_test", "test_labels"),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """Examples as a model takes them.

    Attributes:
        splits: dict from `"train"`, `"validation"` and, if there is one, `"test"` to
            `(x, y)`: arrays `(examples, ...)`; y None where there are no labels.
        told: where they come from and how they are divided, in words.
    """

    splits: dict
    told: str

    @property
    def labelled(self):
        """Whether there are labels."""
        return self.splits["train"][1] is not None

    @property
    def held_out(self):
        """The split to measure on: the test's, if there is one."""
        return "test" if "test" in self.splits else "validation"


def read(args, model):
    """The `Data` that arguments name, prepared for a model.

    Args:
        args: parsed arguments of `add_data_options`.
        model: a functional `keras.Model` of one input.

    Raises:
        WrongUse: if data cannot be read or do not fit the model; it says what was
            found.
    """
    if len(model.inputs) != 1:
        raise WrongUse(
            f"'{model.name}' takes {len(model.inputs)} inputs; the command line feeds "
            "models of one."
        )
    shape = tuple(model.inputs[0].shape[1:])
    reader, source = _reader(args)
    splits = reader(source, shape, args)
    told = [f"{args.data}: "]
    if "validation" not in splits:
        splits["train"], splits["validation"] = _held_out(splits["train"], args)
        told.append(f"held out with seed {args.seed}")
    splits = {
        name: _prepared(*splits[name], shape, args, model.name)
        for name in ("train", "validation", "test")
        if name in splits
    }
    sizes = ", ".join(f"{len(x):,} {name}" for name, (x, _) in splits.items())
    how = f" ({told[1]})" if told[1:] else ""
    x = splits["train"][0]
    return Data(
        splits,
        f"{told[0]}{sizes} examples{how}; inputs {x.dtype.name} of "
        f"{'x'.join(map(str, x.shape[1:]))}, from {x.min():g} to {x.max():g}",
    )


def sample(x, y, count, seed):
    """A random choice of examples, in their order; all, if there are fewer.

    Args:
        x: array `(examples, ...)`.
        y: array of as many labels, or None.
        count: int.
        seed: int.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(x))[:count])
    return x[rows], None if y is None else y[rows]


def _reader(args):
    if args.data_dir is not None:
        return _read_tfds, args.data
    if args.data == "digits":
        return _read_digits, args.data
    path = pathlib.Path(args.data)
    return (_read_folder, path) if path.is_dir() else (_read_npz, path)


def _read_digits(source, shape, args):
    from resprune_tf.data import load_dataset

    digits = load_dataset("digits", seed=args.seed)
    return {
        name: (split.images, split.labels)
        for name, split in (
            ("train", digits.train),
            ("validation", digits.validation),
            ("test", digits.test),
        )
    }


def _read_npz(path, shape, args):
    try:
        # Without pickles, which could run code. np.load(path) would leave the file
        # open where it is no archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive.files
            places = {
                place: next((name for name in known if name in names), None)
                for place, known in _NAMES.items()
            }
            arrays = {place: archive[name] for place, name in places.items() if name}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WrongUse(f"Cannot read {path}: {error}") from error
    if ("train", "x") not in arrays:
        raise WrongUse(
            f"{path} holds {', '.join(names) or 'nothing'}. Its examples must be named "
            f"{' or '.join(_NAMES['train', 'x'])}."
        )
    splits = {}
    for split in ("train", "validation", "test"):
        x, y = arrays.get((split, "x")), arrays.get((split, "y"))
        if x is None:
            continue
        if ("train", "y") in arrays and y is None:
            raise WrongUse(
                f"{path} has labels for training and none named "
                f"{' or '.join(_NAMES[split, 'y'])}."
            )
        if y is not None and len(x) != len(y):
            raise WrongUse(
                f"{path}: {places[split, 'x']} has {len(x):,} examples and "
                f"{places[split, 'y']} {len(y):,}."
            )
        if not len(x):
            raise WrongUse(f"{path}: {places[split, 'x']} is empty.")
        splits[split] = x, y
    return splits


def _read_folder(folder, shape, args):
    import keras

    if len(shape) != 3 or None in shape or shape[2] not in (1, 3, 4):
        raise WrongUse(
            f"A folder of images fits models that take images of a fixed size. This "
            f"one takes {_sizes(shape)}."
        )
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    named = {"train", "validation", "val", "test"}
    if classes and set(classes) <= named and "train" in classes:
        found = {
            "validation" if name == "val" else name: folder / name for name in classes
        }
    else:
        found = {"train": folder}
    splits = {}
    for name, place in found.items():
        if not any(path.is_dir() for path in place.iterdir()):
            raise WrongUse(
                f"'{place}' must hold one folder of images for each class. It holds "
                f"{len(list(place.iterdir()))} files and no folder."
            )
        try:
            images = keras.utils.image_dataset_from_directory(
                place,
                image_size=shape[:2],
                color_mode={1: "grayscale", 3: "rgb", 4: "rgba"}[shape[2]],
                shuffle=False,
                verbose=False,
            )
        except ValueError as error:
            raise WrongUse(f"Cannot read the images in '{place}': {error}") from error
        pairs = [(np.rint(x).astype("uint8"), y) for x, y in images.as_numpy_iterator()]
        splits[name] = tuple(map(np.concatenate, zip(*pairs, strict=True)))
    return splits


def _read_tfds(name, shape, args):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=args.data_dir)
        splits = builder.as_dataset(as_supervised=True)
    except Exception as error:
        line = str(error).strip().splitlines()[0]
        raise WrongUse(
            f"tensorflow_datasets cannot read '{name}' in '{args.data_dir}', and the "
            f"command line downloads nothing: {line}"
        ) from error
    if "train" not in splits:
        raise WrongUse(f"'{name}' has no split train; it has {', '.join(splits)}.")
    found = {}
    for split in ("train", "validation", "test"):
        if split not in splits:
            continue
        pairs = splits[split]
        if args.examples:
            pairs = pairs.shuffle(10_000, seed=args.seed).take(args.examples)
        if len(shape) == 3 and None not in shape:
            pairs = pairs.map(
                lambda image, label: (
                    tf.cast(tf.round(tf.image.resize(image, shape[:2])), image.dtype),
                    label,
                )
            )
        x, y = zip(*pairs.as_numpy_iterator(), strict=True)
        found[split] = np.stack(x), np.asarray(y)
    return found


def _held_out(pair, args):
    """Training and validation examples, the classes in the same proportions."""
    from sklearn.model_selection import train_test_split

    x, y = pair
    if len(x) < 2:
        raise WrongUse(f"There are {len(x)} examples: too few to hold some out.")
    count, stratify = max(1, round(len(x) * args.hold_out)), None
    if y is not None and y.dtype.kind in "iu" and y.size == len(y):
        classes, members = np.unique(y, return_counts=True)
        if members.min() >= 2 and len(classes) <= min(count, len(x) - count):
            stratify = y
    parts = train_test_split(
        np.arange(len(x)),
        test_size=count,
        random_state=args.seed,
        stratify=stratify,
    )
    return [(x[rows], None if y is None else y[rows]) for rows in map(np.sort, parts)]


def _prepared(x, y, shape, args, name):
    """Inputs of the model's shape and range; labels without an axis of 1."""
    if args.examples is not None:
        x, y = sample(x, y, args.examples, args.seed)
    if x.dtype.kind not in "fiub":
        raise WrongUse(f"Examples must be numbers. Found: {x.dtype} {list(x.shape)}.")
    if len(shape) == 3 and x.ndim == 3 and shape[2] in (1, None):
        x = x[..., None]  # grey images without their axis of channels
    fits = len(x.shape[1:]) == len(shape) and all(
        wanted in (None, found)
        for found, wanted in zip(x.shape[1:], shape, strict=True)
    )
    if not fits:
        raise WrongUse(
            f"'{name}' takes examples of {_sizes(shape)}. --data holds examples of "
            f"{_sizes(x.shape[1:])}."
        )
    if args.pixels != "raw":
        if x.dtype != np.uint8:
            raise WrongUse(
                f"--pixels {args.pixels} is for pixels from 0 to 255 (uint8). The data "
                f"hold {x.dtype} from {x.min():g} to {x.max():g}: leave it out if that "
                "is what the model takes."
            )
        x = x.astype("float32") / (255 if args.pixels == "unit" else 127.5)
        x = x - 1 if args.pixels == "signed" else x
    if y is not None and y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "iub":
        y = y[:, 0]
    return x, y


def _sizes(shape):
    return (
        "x".join("?" if size is None else str(size) for size in shape) or "one number"
    )
