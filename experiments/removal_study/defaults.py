"""Prunes a trained model with the defaults of `resprune prune` and as in the paper.

    python -m experiments.removal_study.defaults --pretrained=DIR --data_dir=DATA

The model is the public CIFAR-10 ResNet-44 of the removal study, and the target is 70 %
of its multiply-accumulates. Both ways take the same number of epochs in total. A
recorded way is not run again, and a run that was stopped continues.
"""

import dataclasses
import pathlib
import sys

from experiments.pages import manifest
from experiments.pages.results import RECORDS, command, parser_of
from experiments.running.quiet import quiet_start

COMMAND = "python -m experiments.removal_study.defaults"
PLACE = pathlib.Path("pretrained", "resnet44.json")
NET, TARGET, EPOCHS = "resnet44", 0.7, 10
# The model was trained on the images that are held out here, so its accuracy on them is
# too high to measure a decrease. With a large tolerance it does not decide the outcome.
TOLERANCE = 0.2


def main():
    parser = folders_parser(COMMAND, __doc__)
    arguments = parser.parse_args()
    print("Starting Keras ...", flush=True)
    with quiet_start():
        from resprune_tf.system.memory import keep_memory

        keep_memory()
        import resprune_tf as rp
        from experiments.removal_study.public_models import read_model
        from resprune_tf.runs.environment import environment
    path = RECORDS / PLACE
    try:
        net = read_model(NET, arguments.pretrained)
    except ValueError as error:
        sys.exit(f"error: {error}")
    record = manifest.read_record(path)
    for name, part in {"defaults": _by_default, "paper": _as_the_paper}.items():
        if name in record:
            continue
        print(f"{name} ...", flush=True)
        rounds, how = part(rp, net, arguments)
        record[name] = {**how, "rounds": rounds, "environment": environment()}
        record["net"], record["seed"] = NET, arguments.seed
        record["command"] = recorded_command(parser, arguments)
        manifest.write_record(path, record)
    print(f"finished: {path}")


def _by_default(rp, net, arguments):
    """The rounds of `resprune prune` as JSON values, and the command."""
    import keras

    from resprune_cli.main import main as resprune

    folder = arguments.runs / "defaults"
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / f"{NET}.keras"
    if not model.exists():
        # The optimizer of its authors, with their initial learning rate.
        net.compile(
            keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-4),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        net.optimizer.build(net.trainable_variables)
        net.save(model)
    words = (
        f"--data cifar10 --augment flip,crop=4 --batch-size 128 "
        f"--target macs={TARGET:g} --tolerance {TOLERANCE:g}"
    )
    own = [f"--data-dir={arguments.data_dir}", f"--seed={arguments.seed}"]
    own.append(f"--out={folder / 'pruned'}")
    if code := resprune(["prune", str(model), *words.split(), *own]):
        sys.exit(code)
    rounds = rp.runs.records.read_rounds(folder / "pruned")
    return _lines(rounds), {"how": f"resprune prune {NET}.keras {words}"}


def _as_the_paper(rp, net, arguments):
    """The rounds of Algorithm 1 with the paper's schedule, and its description."""
    dataset = rp.load_dataset("cifar10", arguments.data_dir, seed=arguments.seed)
    scaled = rp.add_importance(net)
    rounds = _needed(rp, net)
    recipe = rp.Recipe(
        epochs=EPOCHS // (rounds + 1),
        precision=rp.native_precision(),
    )
    result = rp.prune_and_retrain(
        scaled,
        # The authors padded the crops with black.
        dataclasses.replace(dataset, mean=(0.0, 0.0, 0.0)),
        recipe,
        removal=rp.Removal(
            target=rp.Target(macs=TARGET), units_per_round=2, tolerance=0.99
        ),
        run=rp.RunOptions(arguments.runs / "paper", seed=arguments.seed),
    )
    how = (
        f"Algorithm 1 with k = 2 and {recipe.epochs} epochs per training from "
        f"{recipe.learning_rate:g}, schedule {recipe.schedule}"
    )
    return _lines(result.rounds), {"how": how}


def _needed(rp, net):
    """Estimated number of rounds of two units each until the target is met."""
    free = [unit for unit in rp.find_units(net) if unit.removable]
    macs = rp.cost(net).macs
    saved = sum(unit.macs for unit in free) / len(free)
    units = -(-macs * (1 - TARGET) // saved)
    return int(-(-units // 2))


def _lines(rounds):
    """Rounds as JSON values."""
    fields = "removed", "layers", "parameters", "macs", "epochs", "seconds"
    return [
        {
            "round": each.round,
            **{name: getattr(each, name) for name in fields},
            "validation": each.validation["accuracy"],
            "test": each.test["accuracy"],
        }
        for each in rounds
    ]


def recorded_command(parser, arguments):
    """The command that a record states, without the folders of this machine."""
    words = command(parser, arguments, ("pretrained", "data_dir", "runs"))
    return f"{words} --pretrained=DIR --data_dir=DATA"


def folders_parser(name, description):
    """A parser with the folders and the seed of a study that trains."""
    parser = parser_of(name, description)
    parser.add_argument("--pretrained", metavar="DIR", required=True)
    parser.add_argument("--data_dir", metavar="DATA", required=True)
    parser.add_argument(
        "--runs",
        metavar="DIR",
        type=pathlib.Path,
        default=pathlib.Path("runs/retraining"),
        help="folder of the run directories (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
