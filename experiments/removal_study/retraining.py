"""Compares ways to retrain a trained model after five units are removed at once.

    python -m experiments.removal_study.retraining --pretrained=DIR --data_dir=DATA

The model is the public CIFAR-10 ResNet-32 of the removal study, without the five units
with the smallest block influence. Each way is a run of `prune_and_retrain` that starts
from the model as given. A recorded way is not run again and a stopped run continues, so
the command can be stopped and repeated.
"""

import dataclasses
import pathlib
import sys

from experiments.pages import manifest
from experiments.pages.results import RECORDS, command
from experiments.removal_study.defaults import folders_parser
from experiments.running.quiet import quiet_start

COMMAND = "python -m experiments.removal_study.retraining"
PLACE = pathlib.Path("retraining", "resnet32.json")
UNITS = 5


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to retrain.

    Attributes:
        optimizer: `"sgd"`, with a Nesterov momentum of 0.9 and an L2 penalty of 1e-4,
            or `"adam"`.
        rate: the highest learning rate.
        schedule: name of the learning rate schedule.
        epochs: number of epochs of 45,000 images.
        teacher: whether the unpruned model is the teacher.
    """

    optimizer: str
    rate: float
    schedule: str = "warmup_linear"
    epochs: int = 3
    teacher: bool = False

    @property
    def name(self):
        teacher = "-teacher" * self.teacher
        return f"{self.optimizer}-{self.rate:g}-{self.schedule}-{self.epochs}{teacher}"


# The most important first: --ways=N runs the first N.
WAYS = (
    Way("sgd", 0.02),
    Way("sgd", 0.02, teacher=True),
    Way("sgd", 0.01, teacher=True),
    Way("adam", 5e-4),
    Way("sgd", 0.02, epochs=5),
    Way("sgd", 0.01),
    Way("adam", 5e-4, teacher=True),
    Way("sgd", 0.05, teacher=True),
    Way("sgd", 0.1, "step"),
    Way("sgd", 0.02, "linear"),
    Way("sgd", 0.005),
    # The end of a usual schedule, as in learning rate rewinding.
    Way("sgd", 0.01, "step"),
)


def main():
    parser = _parser()
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
        dataset = rp.load_dataset("cifar10", arguments.data_dir, seed=arguments.seed)
        model = read_model("resnet32", arguments.pretrained)
    except ValueError as error:
        sys.exit(f"error: {error}")
    # The authors padded the crops with black.
    dataset = dataclasses.replace(dataset, mean=(0.0, 0.0, 0.0))
    record = manifest.read_record(path) or {"ways": {}}
    record["command"] = (
        f"{command(parser, arguments, ('pretrained', 'data_dir', 'runs'))} "
        "--pretrained=DIR --data_dir=DATA"
    )
    for way in WAYS[: arguments.ways]:
        if way.name in record["ways"]:
            continue
        print(f"{way.name} ...", flush=True)
        found = _run(rp, model, dataset, way, arguments)
        record["ways"][way.name] = {**found, "environment": environment()}
        manifest.write_record(path, record)
    print(f"finished: {path}")


def _run(rp, model, dataset, way, arguments):
    """The results of one way as JSON values."""
    criterion = rp.criteria.named("block_influence", dataset, seed=arguments.seed)
    chosen = sorted(scores := criterion(model), key=scores.get)[:UNITS]
    result = rp.prune_and_retrain(
        model,
        dataset,
        _recipe(rp, way),
        initial="as_given",
        guidance=rp.Guidance(weight=0.7, temperature=4.0) if way.teacher else None,
        removal=rp.Removal(
            units=chosen, units_per_round=UNITS, criterion=criterion, tolerance=0.99
        ),
        run=rp.RunOptions(arguments.runs / way.name, seed=arguments.seed),
    )
    given, last = result.rounds
    pruned = rp.remove_units(model, chosen)
    return {
        **dataclasses.asdict(way),
        "removed": list(last.removed),
        "macs_ratio": last.macs / given.macs,
        "given": given.test["accuracy"],
        "removed_only": _test(pruned, dataset),
        "recalibrated": _test(rp.recalibrate(pruned, dataset), dataset),
        "retrained": last.test["accuracy"],
        "train": last.train["accuracy"],
        "seconds": last.seconds,
        "seed": arguments.seed,
    }


def _test(model, dataset):
    from resprune_tf.training.trainer import evaluate

    return evaluate(model, dataset.test)[1]


def _recipe(rp, way):
    import keras

    from resprune_tf.training.recipe import StepSchedule

    class Adam(rp.Recipe):
        """A recipe with Adam and without an L2 penalty."""

        def optimizer(self, steps=None):
            rate = StepSchedule(self.schedule, self.learning_rate, steps or 1)
            return keras.optimizers.Adam(rate)

    kind = {"sgd": rp.Recipe, "adam": Adam}[way.optimizer]
    return kind(
        epochs=way.epochs,
        learning_rate=way.rate,
        schedule=way.schedule,
        precision=rp.native_precision(),
    )


def _parser():
    parser = folders_parser(COMMAND, __doc__)
    parser.add_argument("--ways", type=int, help="run only the first N ways")
    return parser


if __name__ == "__main__":
    main()
