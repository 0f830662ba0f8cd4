"""Options for the data, and the checks of `--data` before Keras is imported."""

import pathlib
import zipfile
from typing import NamedTuple

from resprune_cli.options import values
from resprune_cli.options.archives import check_archive
from resprune_cli.options.registries import registry
from resprune_cli.options.usage import WrongUse


class Pixels(NamedTuple):
    """How pixels from 0 to 255 become inputs: `(pixels / divisor - mean) / std`.

    Attributes:
        help: the inputs, as text.
        divisor: number.
        mean, std: a number, or one number for each of the three channels of the input.
        reverse: whether the channels are reversed first, from RGB to BGR.
    """

    help: str
    divisor: float = 1
    mean: float | tuple[float, ...] = 0
    std: float | tuple[float, ...] = 1
    reverse: bool = False

    @property
    def coloured(self) -> bool:
        """Whether it is defined for images of three channels only."""
        return isinstance(self.mean, tuple)


# The data contain pixels from 0 to 255; models expect different inputs. `caffe`,
# `torch` and `signed` are the modes caffe, torch and tf of keras.applications.
PIXELS = {
    "raw": Pixels("0 to 255, as in the data (default)"),
    "unit": Pixels("0 to 1, for a model trained on x / 255", 255),
    "signed": Pixels(
        "-1 to 1, for MobileNet, MobileNetV2, ResNetV2, Inception, Xception and NASNet",
        127.5,
        1,
    ),
    "caffe": Pixels(
        "BGR minus the mean of ImageNet, for ResNet50, ResNet101, ResNet152 and VGG",
        mean=(103.939, 116.779, 123.68),
        reverse=True,
    ),
    "torch": Pixels(
        "RGB from 0 to 1 minus the mean of ImageNet, divided by its standard "
        "deviation, for DenseNet and most models converted from PyTorch",
        255,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),
}
RESIZES = ("stretch", "crop")
_BUILT_IN = ", ".join(
    f"`{name}` ({what})" for name, what in registry("data.registry").BUILT_IN.items()
)


def add_data_options(parser, required=False):
    """Adds the options for the source of the data and their preparation."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        metavar="DATA",
        required=required,
        help="an .npz file (arrays x and y, or images and labels; or x_train and "
        "x_test; optionally x_val and y_val), a folder with one folder of images per "
        f"class, {_BUILT_IN}, or with --data-dir the name of a data set of "
        "tensorflow_datasets, which is not downloaded.",
    )
    group.add_argument(
        "--data-dir", metavar="DIR", help="folder of tensorflow_datasets."
    )
    group.add_argument(
        "--pixels",
        choices=tuple(PIXELS),
        default="raw",
        help="pixels that the model expects: "
        + "; ".join(f"{name}, {pixels.help}" for name, pixels in PIXELS.items())
        + ". The models named are those of keras.applications; its other models need "
        "raw.",
    )
    group.add_argument(
        "--resize",
        choices=RESIZES,
        default="stretch",
        help="how images of folders and of tensorflow_datasets become as large as the "
        "input of the model: stretch, to its height and width (default); crop, the "
        "shorter side to the input size / 0.875 with antialiasing, then the centre, as "
        "published accuracies on ImageNet are usually measured.",
    )
    group.add_argument(
        "--hold-out",
        metavar="SHARE",
        type=values.share,
        default=0.1,
        help="fraction of the training examples to hold out for validation, if the "
        "data have no validation examples (default 0.1).",
    )
    group.add_argument(
        "--examples",
        metavar="N",
        type=values.count,
        help="use at most N randomly chosen examples of each split.",
    )
    group.add_argument(
        "--seed",
        type=values.seed,
        default=0,
        help="seed of all random choices (default 0), such as which examples are held "
        "out and their order.",
    )


def check_data(args, labels=True):
    """Checks `--data` as far as possible without the library.

    Args:
        args: parsed arguments of `add_data_options`.
        labels: whether the command uses labels.

    Returns:
        Whether the data have labels; False without data.

    Raises:
        WrongUse: if the data cannot be read, or if an option needs data and there are
            none.
    """
    data = args.data
    built_in = registry("data.registry").BUILT_IN
    files = data is not None and (
        args.data_dir is not None
        or (data not in built_in and pathlib.Path(data).is_dir())
    )
    if args.resize != "stretch" and not files:
        raise WrongUse(
            f"--resize {args.resize} is for --data with a folder of images or a data "
            f"set of tensorflow_datasets. Received: {data or 'no --data'}. Leave "
            "--resize out."
        )
    if data is None:
        if args.data_dir is not None:
            raise WrongUse("--data-dir needs --data, which is missing.")
        if getattr(args, "loss", None) or getattr(args, "metric", None):
            raise WrongUse("--loss and --metric need --data.")
        return False
    if args.data_dir is not None:
        if not pathlib.Path(args.data_dir).is_dir():
            raise WrongUse(f"There is no folder --data-dir '{args.data_dir}'.")
        return True
    if data in built_in or pathlib.Path(data).is_dir():
        return True
    if data.endswith(".npz"):
        if not pathlib.Path(data).is_file():
            raise WrongUse(f"There is no file --data '{data}'.")
        if not zipfile.is_zipfile(data):
            raise WrongUse(
                f"--data '{data}' is damaged or incomplete: an .npz file, as written "
                "by numpy.savez, is a zip archive."
            )
        return check_archive(data, labels)
    raise WrongUse(
        f"--data '{data}' is neither a folder nor an .npz file. Give an .npz file, a "
        f"folder with one folder of images per class, {_BUILT_IN}, or with --data-dir "
        "the name of a data set of tensorflow_datasets."
    )
