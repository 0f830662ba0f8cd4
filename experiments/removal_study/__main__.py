"""Measures the effect of removing units from trained models without retraining.

    python -m experiments.removal_study --pretrained=DIR --data_dir=DATA

DIR has resnet20.npz, resnet32.npz and resnet44.npz: the CIFAR-10 models of
github.com/akamaster/pytorch_resnet_cifar10 as arrays with the names of their
state_dict. --model=FILE measures your own model instead, trained on CIFAR-10 by this
package. There is one record per model in records/removal_study. Recorded parts are not
measured again, so the command can be stopped and repeated; --again measures everything
again.
"""

import pathlib
import sys

from experiments.pages import manifest
from experiments.pages.results import RECORDS, command, parser_of
from experiments.removal_study.page import COMMAND, FOLDER, NETS
from experiments.running.quiet import quiet_start


def main(argv=None, records=RECORDS):
    parser = _parser()
    arguments = parser.parse_args(argv)
    if bool(arguments.pretrained) == bool(arguments.model):
        sys.exit("error: give either --pretrained=DIR or --model=FILE.")
    if arguments.random < 1:
        sys.exit(f"error: --random must be >= 1. Received: {arguments.random}.")
    print("Starting Keras ...", flush=True)
    with quiet_start():
        from experiments.removal_study.public_models import PUBLISHED, read_model
        from experiments.removal_study.study import Settings, Study
        from resprune_tf import load_dataset
        from resprune_tf.system.model_files import load_model
    settings = Settings(seed=arguments.seed, random=arguments.random)
    try:
        dataset = load_dataset("cifar10", arguments.data_dir, seed=arguments.seed)
        for each in arguments.model or arguments.net or NETS:
            name = pathlib.Path(each).stem
            path = records / FOLDER / f"{name}.json"
            record = {} if arguments.again else manifest.read_record(path)
            if record and record["settings"] != settings.to_dict():
                raise ValueError(
                    f"'{path}' was measured with other settings: {record['settings']}. "
                    "Give the same settings, or --again."
                )
            if arguments.model:
                model, fill = load_model(each), dataset.mean
            else:
                model, fill = read_model(each, arguments.pretrained), 0.0
                record["published_accuracy"] = PUBLISHED[each]
            record["command"] = _command(parser, arguments, name)
            record["settings"] = settings.to_dict()
            Study(model, dataset, settings, fill, record, path).run()
            print(f"{name}: finished: {path}", flush=True)
    except ValueError as error:
        sys.exit(f"error: {error}")


def _command(parser, arguments, name):
    """The command that measures one model, without the folders of this machine."""
    source = f"--model={name}.keras" if arguments.model else "--pretrained=DIR"
    net = "" if arguments.model else f" --net={name}"
    omitted = ("again", "pretrained", "data_dir", "model", "net")
    own = command(parser, arguments, omitted)
    return f"{own} {source}{net} --data_dir=DATA"


def _parser():
    parser = parser_of(COMMAND, __doc__)
    parser.add_argument(
        "--pretrained", metavar="DIR", help="folder of the public weights"
    )
    parser.add_argument(
        "--net",
        action="append",
        choices=NETS,
        help="public model to measure (default: all); can be repeated",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="FILE",
        help="a .keras file; can be repeated",
    )
    parser.add_argument("--data_dir", metavar="DATA", help="folder of CIFAR-10")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--random", type=int, default=100, help="random sets per number of units"
    )
    parser.add_argument("--again", action="store_true", help="measure everything again")
    return parser


if __name__ == "__main__":
    main()
