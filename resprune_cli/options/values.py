"""Types of arguments for argparse, which refuse unsuitable values.

This module does not import the library.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import zipfile

from resprune_cli.options.registries import registry

# The files that commands read models from. SavedModels have no graph of Keras layers.
_MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
MODEL_FILE = (
    "a .keras file, or an .h5 or .hdf5 file that contains a whole model (not a "
    "SavedModel, and not weights alone)"
)
_KERAS_2 = (
    "For a model of Keras 2 (tf.keras before TensorFlow 2.16): load it with tf_keras "
    "(`pip install tf_keras`), build the same model in Keras 3, and copy the weights: "
    "new.set_weights(old.get_weights())."
)


def model_path(text):
    """Path of a model file. It is checked without importing Keras."""
    path = pathlib.Path(text)
    if path.name.endswith(".weights.h5"):
        raise argparse.ArgumentTypeError(
            f"'{text}' contains weights without a model. Weights are assigned by the "
            "order of the layers, which can load wrong weights into a pruned model "
            "without an error. Load them in the code that built the model, and save "
            f"the whole model: model.save('model.keras'). {_KERAS_2}"
        )
    if path.suffix == ".json":
        raise argparse.ArgumentTypeError(
            f"'{text}' contains an architecture without weights. Build the model from "
            "it (keras.models.model_from_json), load its weights, and save the whole "
            f"model: model.save('model.keras'). {_KERAS_2}"
        )
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file '{text}'.")
    if path.suffix not in _MODEL_SUFFIXES or path.is_dir():
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a model file. Give {MODEL_FILE}. "
            "model.save('model.keras') writes one."
        )
    if path.suffix != ".keras":
        with open(path, "rb") as file:
            if file.read(8) != b"\x89HDF\r\n\x1a\n":
                raise argparse.ArgumentTypeError(
                    f"'{text}' is damaged or incomplete: it is not an HDF5 file. Copy "
                    "or save the model again."
                )
        return path
    if not zipfile.is_zipfile(path):
        raise argparse.ArgumentTypeError(
            f"'{text}' is damaged or incomplete: a file written by "
            "model.save('model.keras') is a zip archive. Copy or save it again."
        )
    return path


def model_or_export(text):
    """Path of a model file, or of a file or folder that `export` wrote."""
    if registry("deploy.registry").runtime_of(text) and pathlib.Path(text).exists():
        return pathlib.Path(text)
    return model_path(text)


def folder(text):
    """Path of an output folder, which need not exist yet."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty.")
    path = pathlib.Path(text)
    try:
        if path.exists() and not path.is_dir():
            raise argparse.ArgumentTypeError(f"'{text}' is a file, not a folder.")
    except OSError as error:  # such as a name that is too long
        raise argparse.ArgumentTypeError(f"'{text}': {error.strerror}.") from error
    return path


def names(text):
    """List of names that are separated by commas and optional blanks."""
    return [name for part in text.split(",") if (name := part.strip())]


def formats(text):
    """List of names or aliases of formats that are separated by commas."""
    return list(dict.fromkeys(map(registry("deploy.registry").known_as, names(text))))


def module(text):
    """Name of a Python module, also if the name of its file is given."""
    name = text.removesuffix(".py") if pathlib.Path(text).is_file() else text
    if not all(part.isidentifier() for part in name.split(".")):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not the name of a Python module, such as mylayers for the "
            "file mylayers.py in the current folder."
        )
    return name


def shape(text):
    """Tuple of sizes that are separated by commas."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not an input size, such as 224,224,3."
        )
    return tuple(sizes)


def count(text, least=1):
    """An integer >= 1, or another smallest value."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"'{text}' is not an integer >= {least}.")
    return value


def count_or_all(text):
    """An integer >= 1, or `all`."""
    return text if text == "all" else count(text)


def seed(text):
    """An integer from 0 to 2**32 - 1, which all generators accept."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not an integer from 0 to 4294967295 (2**32 - 1)."
        )
    return value


def share(text):
    """A number above 0 and below 1."""
    return _number(text, lambda value: 0 < value < 1, "above 0 and below 1")


def positive(text):
    """A number above 0."""
    return _number(text, lambda value: 0 < value < float("inf"), "above 0")


def epochs(text):
    """An integer >= 0."""
    return count(text, least=0)


def tolerance(text):
    """A number >= 0, or `auto`."""
    return (
        text
        if text == "auto"
        else _number(text, lambda value: 0 <= value < float("inf"), ">= 0")
    )


def _number(text, fits, wanted):
    try:
        value = float(text)
    except ValueError:
        value = float("nan")  # not in any range
    if not fits(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number {wanted}.")
    return value


def command(text):
    """A program and its arguments, split as by a shell."""
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}.") from error
    parts[:1] = map(os.path.expanduser, parts[:1])
    if not parts or shutil.which(parts[0]) is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' does not begin with a program that can be run. Write "
            "./measure.sh for a program in the current folder, and make it executable "
            "(chmod +x measure.sh)."
        )
    return parts


def augmentation(text):
    """Dict from the name of an augmentation to its pixels, or to 1 for `flip`."""
    found = {}
    for part in names(text):
        name, _, pixels = part.partition("=")
        if part == "flip":
            found["flip"] = 1
        elif name == "crop" and pixels.isdecimal() and int(pixels):
            found["crop"] = int(pixels)
        else:
            raise argparse.ArgumentTypeError(
                f"'{part}' is not an augmentation. Give flip, crop=4, or flip,crop=4."
            )
    return found
