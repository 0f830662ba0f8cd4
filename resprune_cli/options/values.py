"""What the values of arguments may be: types for argparse. Pure Python."""

import argparse
import pathlib
import zipfile

from resprune_cli.options.registries import registry

_KERAS_2 = (
    "Of Keras 2 (tf.keras before TensorFlow 2.16): load it with tf_keras (`pip install "
    "tf_keras`), build the same model in Keras 3, and copy the weights: "
    "new.set_weights(old.get_weights())."
)


def model_path(text):
    """A model's file that can be opened, without starting TensorFlow."""
    path = pathlib.Path(text)
    if path.name.endswith(".weights.h5"):
        raise argparse.ArgumentTypeError(
            f"'{text}' holds weights without a model. Weights are read by the order of "
            "layers, and in a model with fewer layers that can go wrong without an "
            "error. Load them in the code that made the model, and save the whole "
            f"model: model.save('model.keras'). {_KERAS_2}"
        )
    if path.suffix == ".json":
        raise argparse.ArgumentTypeError(
            f"'{text}' holds an architecture without weights. Make the model from it "
            "(keras.models.model_from_json), load its weights, and save the whole "
            f"model: model.save('model.keras'). {_KERAS_2}"
        )
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file '{text}'.")
    if path.suffix not in (".keras", ".h5", ".hdf5") or path.is_dir():
        raise argparse.ArgumentTypeError(
            f"'{text}' is no .keras file, which model.save('model.keras') writes, and "
            "no .h5 file of a whole model."
        )
    if path.suffix != ".keras":
        with open(path, "rb") as file:
            if file.read(8) != b"\x89HDF\r\n\x1a\n":
                raise argparse.ArgumentTypeError(
                    f"'{text}' is broken or cut off: it is no HDF5 file. Copy or save "
                    "the model again."
                )
        return path
    if not zipfile.is_zipfile(path):
        raise argparse.ArgumentTypeError(
            f"'{text}' is broken or cut off: a file that model.save('model.keras') "
            "wrote is a zip archive. Copy or save it again."
        )
    return path


def model_or_export(text):
    """A model's file, or what `export` wrote."""
    if registry("deploy.registry").runtime_of(text) and pathlib.Path(text).exists():
        return pathlib.Path(text)
    return model_path(text)


def folder(text):
    """A folder to write to, which need not be there yet."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty.")
    path = pathlib.Path(text)
    try:
        if path.exists() and not path.is_dir():
            raise argparse.ArgumentTypeError(f"'{text}' is a file, and no folder.")
    except OSError as error:  # such as a name that is too long
        raise argparse.ArgumentTypeError(f"'{text}': {error.strerror}.") from error
    return path


def names(text):
    """Names with commas between them, and perhaps blanks."""
    return [name for part in text.split(",") if (name := part.strip())]


def formats(text):
    """Names of formats, or their aliases, with commas between them."""
    return list(dict.fromkeys(map(registry("deploy.registry").known_as, names(text))))


def module(text):
    """A module's name; of a file in this folder, the name that Python imports it by."""
    name = text.removesuffix(".py") if pathlib.Path(text).is_file() else text
    if not all(part.isidentifier() for part in name.split(".")):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no name of a module, such as mylayers for the file "
            "mylayers.py in this folder."
        )
    return name


def shape(text):
    """Sizes with commas between them."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no shape of an input, such as 224,224,3."
        )
    return tuple(sizes)


def count(text):
    """A whole number from 1 up."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 up.")
    return value


def count_or_all(text):
    """A whole number from 1 up, or `all`."""
    return text if text == "all" else count(text)


def share(text):
    """A number between 0 and 1."""
    return _number(text, lambda value: 0 < value < 1, "between 0 and 1")


def positive(text):
    """A number above 0."""
    return _number(text, lambda value: 0 < value < float("inf"), "above 0")


def epochs(text):
    """A whole number from 0 up."""
    return 0 if text == "0" else count(text)


def tolerance(text):
    """A number from 0 up, or `auto`."""
    return (
        text
        if text == "auto"
        else _number(text, lambda value: 0 <= value < float("inf"), "from 0 up")
    )


def _number(text, fits, wanted):
    try:
        value = float(text)
    except ValueError:
        value = float("nan")  # which fits nowhere
    if not fits(value):
        raise argparse.ArgumentTypeError(f"'{text}' is no number {wanted}.")
    return value


def augmentation(text):
    """`flip,crop=4` as a dict from the name to its number of pixels, or 1."""
    found = {}
    for part in names(text):
        name, _, pixels = part.partition("=")
        if part == "flip":
            found["flip"] = 1
        elif name == "crop" and pixels.isdecimal() and int(pixels):
            found["crop"] = int(pixels)
        else:
            raise argparse.ArgumentTypeError(
                f"'{part}' is no augmentation: flip, crop=4, or flip,crop=4."
            )
    return found
