"""Options for the data, and the checks of `--data` before Keras is imported."""

import pathlib
import zipfile

from resprune_cli.options import values
from resprune_cli.options.archives import check_archive
from resprune_cli.options.registries import registry
from resprune_cli.options.usage import WrongUse

# The data contain pixels from 0 to 255; models expect different ranges.
PIXELS = ("raw", "unit", "signed")
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
        choices=PIXELS,
        default="raw",
        help="range of pixels that the model expects: raw, 0 to 255, as in the data "
        "(default); unit, 0 to 1; signed, -1 to 1. A model trained on x / 255 needs "
        "unit.",
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
        type=int,
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
    if data in registry("data.registry").BUILT_IN or pathlib.Path(data).is_dir():
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
