"""Checks the `.npz` files of `--data` by their headers, before any array is read.

This module does not import the library, so that unsuitable data are refused at once.
"""

from resprune_cli.options.registries import registry
from resprune_cli.options.usage import WrongUse

# Accepted names of the arrays; the first ones take precedence.
_NAMES = {
    ("train", "x"): ("x", "images", "x_train", "train_images"),
    ("train", "y"): ("y", "labels", "y_train", "train_labels"),
    ("validation", "x"): ("x_val", "x_validation"),
    ("validation", "y"): ("y_val", "y_validation"),
    ("test", "x"): ("x_test", "test_images"),
    ("test", "y"): ("y_test", "test_labels"),
}
_NUMBERS = "fiub"  # kinds of dtypes


def check_archive(path, labels=True):
    """Checks the names, lengths and dtypes of the arrays in an `.npz` file.

    Args:
        path: path of the file.
        labels: whether the labels will be used.

    Returns:
        Whether the examples have labels.

    Raises:
        WrongUse: if the file cannot be read, or its arrays are unsuitable.
    """
    try:
        with registry("system.array_files").ArrayFile(path) as archive:
            return ("train", "y") in archive_layout(path, archive.headers, labels)
    except (OSError, ValueError) as error:
        raise WrongUse(f"Cannot read {path}: {error}") from error


def archive_layout(path, headers, labels=True):
    """Finds the examples and labels in an `.npz` file by the names of its arrays.

    Args:
        path: path of the file, for messages.
        headers: dict from the name of an array to its `array_files.Header`.
        labels: whether the labels will be used, and must be numbers.

    Returns:
        dict from `(split, "x")` and `(split, "y")` to the name of an array. Splits are
        `"train"` and, if the file has them, `"validation"` and `"test"`.

    Raises:
        WrongUse: if there are no examples, if a split has no labels while others do, if
            examples and labels differ in number, or if they are not numbers.
    """
    places = {place: _found(known, headers) for place, known in _NAMES.items()}
    places = {place: name for place, name in places.items() if name}
    if ("train", "x") not in places:
        raise WrongUse(
            f"{path} contains {', '.join(headers) or 'no array'}. The array of "
            f"examples must be named {' or '.join(_NAMES['train', 'x'])}."
        )
    labelled = ("train", "y") in places
    for split in [split for split, kind in places if kind == "x"]:
        if labelled and (split, "y") not in places:
            raise WrongUse(
                f"{path} contains labels for training, but no array named "
                f"{' or '.join(_NAMES[split, 'y'])}."
            )
        names = [places[split, kind] for kind in "xy" if (split, kind) in places]
        counts = [(headers[name].shape or (0,))[0] for name in names]
        if len({*counts}) > 1:
            raise WrongUse(
                f"{path}: {names[0]} has {counts[0]:,} examples, but {names[1]} has "
                f"{counts[1]:,}."
            )
        if not counts[0]:
            raise WrongUse(f"{path}: {names[0]} is empty.")
        _check_numbers(path, "Examples", names[0], headers, "")
        if labels and labelled:
            _check_numbers(path, "Labels", names[1], headers, NUMBER_CLASSES)
    return places


# What to do with labels that are text.
NUMBER_CLASSES = (
    " Number the classes from 0, in Python by "
    "`np.unique(labels, return_inverse=True)[1]`."
)


def _check_numbers(path, what, name, headers, advice):
    dtype = headers[name].dtype
    if dtype.kind not in _NUMBERS:
        kind = "text" if dtype.kind in "US" else dtype.name
        raise WrongUse(
            f"{what} must be numbers. {path}: {name} contains {kind}.{advice}"
        )


def _found(known, names):
    """The first known name among the names, in upper or lower case; or None."""
    spelled = {name.lower(): name for name in names}
    spelled.update({name: name for name in names})
    return next((spelled[name] for name in known if name in spelled), None)
