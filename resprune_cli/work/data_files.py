"""Reads `--data`: `.npz` files, folders of images, and data sets by name."""

import importlib.util
import math
import pathlib

import numpy as np

from resprune_cli.options.archives import archive_layout
from resprune_cli.options.usage import WrongUse
from resprune_cli.work.memory import check_memory
from resprune_tf.data.examples import check_finite
from resprune_tf.data.registry import BUILT_IN
from resprune_tf.system.wording import counted, first_line


def splits_of(args, shape):
    """Reads the splits of `--data`.

    Args:
        args: parsed arguments of `add_data_options`.
        shape: shape of an example that the model expects; None for unknown sizes.

    Returns:
        dict from `"train"` and, if the data have them, `"validation"` and `"test"` to
        `(x, y)`: arrays `(examples, ...)`. x may be `ImageFiles`, and y is None
        without labels.

    Raises:
        WrongUse: if the data cannot be read; the message says what was found.
    """
    if args.data_dir is not None:
        return _data_set(args.data, shape, args)
    if args.data in BUILT_IN:
        return _built_in(args)
    path = pathlib.Path(args.data)
    return _folder(path, shape, args.resize) if path.is_dir() else _archive(path)


class ImageFiles:
    """Image files that are read when rows are selected: `files[rows]` is an array.

    Args:
        paths: paths of the files.
        shape: `(height, width, channels)` to which the images are converted.
        class_names: names of the classes of the data, in the order of their numbers.
            It becomes an attribute.
        resize: how they are converted, as for `resized`.
    """

    dtype = np.dtype("uint8")

    def __init__(self, paths, shape, class_names, resize="stretch"):
        self._paths, self._shape = np.asarray(paths), tuple(shape)
        self.class_names, self._resize = tuple(class_names), resize

    def __len__(self):
        return len(self._paths)

    @property
    def shape(self):
        """Shape of the array of all images."""
        return len(self), *self._shape

    def __getitem__(self, rows):
        import tensorflow as tf

        def pixels(path):
            image = tf.io.decode_image(
                tf.io.read_file(path), self._shape[2], expand_animations=False
            )
            return resized(image, *self._shape[:2], self._resize)

        paths = self._paths[rows]
        images = np.empty((len(paths), *self._shape), self.dtype)
        files = tf.data.Dataset.from_tensor_slices(paths).map(pixels, tf.data.AUTOTUNE)
        place = 0
        try:
            for image in files.as_numpy_iterator():
                images[place] = image
                place += 1
        except tf.errors.OpError as error:
            raise WrongUse(
                f"Cannot read the image '{paths[place]}': "
                f"{error.message.splitlines()[0]}"
            ) from error
        return images


def resized(image, height, width, how):
    """Brings an image to a size, with bilinear interpolation.

    Args:
        image: TensorFlow tensor `(any height, any width, channels)`.
        height, width: ints.
        how: `"stretch"` scales each side to its size, without antialiasing. `"crop"`
            scales both sides alike, with antialiasing, so that the image covers
            `height / 0.875` and `width / 0.875`, rounded down, and keeps the centre of
            `height` and `width`. For a square, its shorter side becomes that size.

    Returns:
        A tensor `(height, width, channels)` of the dtype of the image. Values of
        integers are rounded.
    """
    import tensorflow as tf

    if how == "stretch":
        found = tf.image.resize(image, (height, width))
    else:
        given = tf.shape(image, tf.int64)[:2]
        covered = tf.constant([height * 8 // 7, width * 8 // 7], tf.int64)
        # The side that has to grow more is scaled exactly, the other is rounded down.
        tall = given[0] * covered[1] > given[1] * covered[0]
        exact = tf.where(tall, 1, 0)
        whole = given * covered[exact] // given[exact]
        scale = tf.cast(whole, tf.float32) / tf.cast(given, tf.float32)
        offset = (whole - (height, width)) // 2
        # What lies outside the crop is not computed: an image may be very long.
        found = tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=(height, width),
            scale=scale,
            translation=tf.cast(-offset, tf.float32),
            kernel_type="triangle",
            antialias=True,
        )[0]
    found = tf.round(found) if image.dtype.is_integer else found
    return tf.cast(found, image.dtype)


def _built_in(args):
    from resprune_tf.data.loading import load_dataset

    found = load_dataset(args.data, seed=args.seed)
    splits = {
        "train": found.train,
        "validation": found.validation,
        "test": found.test,
    }
    return {name: (split.images, split.labels) for name, split in splits.items()}


def _archive(path):
    from resprune_tf.system.array_files import ArrayFile

    try:
        with ArrayFile(path) as archive:
            # Checked before an array is read, because unsuitable arrays may be huge.
            places = archive_layout(path, archive.headers, labels=False)
            headers = [archive.headers[name] for name in places.values()]
            check_memory(path, sum(header.nbytes for header in headers))
            arrays = {place: archive.read(name) for place, name in places.items()}
    except (OSError, ValueError) as error:
        raise WrongUse(f"Cannot read {path}: {error}") from error
    for place, array in arrays.items():
        _check_finite(f"{path}: {places[place]}", array)
    splits = [split for split, kind in places if kind == "x"]
    return {split: (arrays[split, "x"], arrays.get((split, "y"))) for split in splits}


def _check_finite(what, array):
    try:
        check_finite(what, array)
    except ValueError as error:
        raise WrongUse(str(error)) from error


def _folder(folder, shape, resize):
    if importlib.util.find_spec("tensorflow") is None:
        raise WrongUse(
            f"'{folder}' is a folder of images, which TensorFlow reads. Install "
            "it by `pip install tensorflow`, or give an .npz file."
        )
    if len(shape) != 3 or None in shape or shape[2] not in (1, 3, 4):
        raise WrongUse(
            "A folder of images needs a model whose inputs are images of a fixed size. "
            f"The inputs of this model are {sizes(shape)}."
        )
    places = _splits_in(folder)
    # One numbering for all splits: a split may lack some of the classes.
    class_names = _folders(places["train"])
    if not class_names:
        raise WrongUse(
            f"'{places['train']}' must contain one folder of images per class. It "
            f"contains {counted(len(list(places['train'].iterdir())), 'file')} and no "
            "folder."
        )
    for place in places.values():
        unknown = [name for name in _folders(place) if name not in class_names]
        if unknown:
            raise WrongUse(
                f"'{place}' contains folders of classes that '{places['train']}' does "
                f"not contain: {_listed(unknown)}. The folders in train define the "
                "classes and their numbers. Rename or remove these folders, or, if the "
                f"model distinguishes these classes, create '{places['train']}/"
                f"{unknown[0]}'; it may be empty."
            )
    return {
        name: _images_by_class(place, shape, class_names, resize)
        for name, place in places.items()
    }


def _folders(place):
    """Names of the folders in a folder in alphabetical order, without hidden ones."""
    return sorted(
        path.name
        for path in place.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )


def _listed(names):
    """Names as text; of many names, the first ones."""
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _splits_in(folder):
    """The folder of each split; the whole folder is `"train"` if it is not divided."""
    names = _folders(folder)
    splits = {
        name: "validation" if name == "val" else name
        for name in names
        if name in ("train", "validation", "val", "test")
    }
    others = [name for name in names if name not in splits]
    if others or "train" not in splits:
        # Classes may have the names of splits. Then these folders contain images.
        if not any(_folders(folder / name) for name in splits):
            return {"train": folder}
    if others:
        raise WrongUse(
            f"'{folder}' contains {_listed(list(splits))}, which contain folders of "
            f"classes, and other folders: {_listed(others)}. Keep only train, "
            "validation (or val) and test in it, or only folders of images, one per "
            "class."
        )
    if "train" not in splits:
        raise WrongUse(
            f"'{folder}' contains {_listed(list(splits))}, but no folder named train. "
            "The folders in train define the classes and their numbers. Add train, or "
            f"give --data '{folder / names[0]}', whose own folders then define them."
        )
    if len(set(splits.values())) < len(splits):
        raise WrongUse(
            f"'{folder}' contains both validation and val, which mean the same. Remove "
            "or rename one of them."
        )
    return {split: folder / name for name, split in splits.items()}


def _images_by_class(place, shape, class_names, resize):
    """The `ImageFiles` of a split and their labels, int32 `(images,)`."""
    import keras

    try:
        listed = keras.utils.image_dataset_from_directory(
            place, image_size=shape[:2], shuffle=False, verbose=False
        )
    except ValueError as error:
        raise WrongUse(f"Cannot read the images in '{place}': {error}") from error
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.array(
        [
            numbers[pathlib.Path(path).relative_to(place).parts[0]]
            for path in listed.file_paths
        ],
        "int32",
    )
    return ImageFiles(listed.file_paths, shape, class_names, resize), labels


def _data_set(name, shape, args):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=args.data_dir)
        splits = builder.as_dataset(as_supervised=True)
    except Exception as error:
        raise WrongUse(
            f"tensorflow_datasets cannot read '{name}' in '{args.data_dir}', and the "
            f"command line downloads nothing: {first_line(error)}"
        ) from error
    if "train" not in splits:
        raise WrongUse(
            f"'{name}' must have a split named train. It has: {', '.join(splits)}."
        )
    images = len(shape) == 3 and None not in shape
    if args.resize != "stretch" and not images:
        raise WrongUse(
            f"--resize {args.resize} needs a model whose inputs are images of a fixed "
            f"size. The inputs of this model are {sizes(shape)}. Leave --resize out."
        )
    found = {}
    for split in ("train", "validation", "test"):
        if split not in splits:
            continue
        pairs = splits[split]
        if args.examples:
            count = args.examples
            if split == "train" and "validation" not in splits:  # it is divided later
                count = math.ceil(count / min(args.hold_out, 1 - args.hold_out))
            pairs = _some(pairs, count, args.seed)
        if images:
            pairs = pairs.map(
                lambda image, label: (resized(image, *shape[:2], args.resize), label)
            )
        example = pairs.element_spec[0]
        if example.shape.is_fully_defined() and pairs.cardinality() > 0:
            size = example.shape.num_elements() * example.dtype.size
            check_memory(f"{name}, {split}", size * int(pairs.cardinality()))
        x, y = zip(*pairs.as_numpy_iterator(), strict=True)
        found[split] = np.stack(x), np.asarray(y)
        for array in found[split]:
            _check_finite(f"{name}, {split}", array)
    return found


def _some(pairs, count, seed):
    """At most `count` random examples of a `tf.data.Dataset` of known length."""
    import tensorflow as tf

    whole = int(pairs.cardinality())
    chosen = np.zeros(whole, bool)
    chosen[np.random.default_rng(seed).permutation(whole)[:count]] = True
    chosen = tf.constant(chosen)
    some = pairs.enumerate().filter(lambda place, _: chosen[place])
    some = some.map(lambda _, pair: pair)
    return some.apply(tf.data.experimental.assert_cardinality(min(whole, count)))


def sizes(shape):
    """A shape as text, such as `8x8x1`."""
    return (
        "x".join("?" if size is None else str(size) for size in shape) or "one number"
    )
