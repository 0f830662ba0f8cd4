"""Compares ways to retrain a trained model, and criteria after retraining.

    python -m experiments.removal_study.retraining --pretrained=DIR --data_dir=DATA
    python -m experiments.removal_study.retraining --compare=criteria \\
        --pretrained=DIR --data_dir=DATA

The model is the public CIFAR-10 ResNet-32 of the removal study, without five units that
are removed at once. The first command removes those with the smallest block influence
and retrains in several ways, with one seed. The second one retrains in one way, and
several criteria choose the units, with several seeds. Each run of `prune_and_retrain`
starts from the model as given. A recorded run is not repeated and a stopped run
continues, so a command can be stopped and repeated.
"""

import dataclasses
import pathlib
import sys

from experiments.pages import manifest
from experiments.pages.results import RECORDS
from experiments.removal_study.defaults import folders_parser, recorded_command
from experiments.running.quiet import quiet_start

COMMAND = "python -m experiments.removal_study.retraining"
PLACES = {
    "ways": pathlib.Path("retraining", "resnet32.json"),
    "criteria": pathlib.Path("retraining", "resnet32-criteria.json"),
}
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


@dataclasses.dataclass(frozen=True)
class Choice:
    """A criterion that chooses the units to remove.

    Attributes:
        criterion: one of `rp.criteria.NAMES`.
        examples: number of training images that it uses.
        recalibrate: whether the model is recalibrated on them for each score.
    """

    criterion: str
    examples: int = 512
    recalibrate: bool = False

    @property
    def name(self):
        """Such as `"leave_one_out-recalibrated"`."""
        return f"{self.criterion}{'-recalibrated' * self.recalibrate}"


# Fixed, with the seeds, before the first of these runs. `random` chooses other units
# for every seed.
CHOICES = (
    Choice("block_influence"),
    Choice("random"),
    Choice("leave_one_out", examples=1024, recalibrate=True),
    Choice("taylor"),
    Choice("cka"),
    Choice("output_norm"),
)
SEEDS = range(5)
CHOSEN_WAY = Way("sgd", 0.02, teacher=True)


def main():
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.compare == "criteria" and (arguments.seed or arguments.ways):
        parser.error(
            "--seed and --ways are for --compare=ways. Criteria are compared for seeds "
            f"{SEEDS[0]} to {SEEDS[-1]}."
        )
    print("Starting Keras ...", flush=True)
    with quiet_start():
        from resprune_tf.system.memory import keep_memory

        keep_memory()
        import resprune_tf as rp
        from experiments.removal_study.public_models import read_model
        from resprune_tf.runs.environment import environment
    part = arguments.compare
    path = RECORDS / PLACES[part]
    record = manifest.read_record(path) or {part: {}}
    record["command"] = recorded_command(parser, arguments)
    for name, way, choice, seed in _planned(arguments):
        if name in record[part]:
            continue
        print(f"{name} ...", flush=True)
        try:
            dataset = rp.load_dataset("cifar10", arguments.data_dir, seed=seed)
            model = read_model("resnet32", arguments.pretrained)
        except ValueError as error:
            sys.exit(f"error: {error}")
        # The authors padded the crops with black.
        dataset = dataclasses.replace(dataset, mean=(0.0, 0.0, 0.0))
        found = _run(rp, model, dataset, way, choice, seed, arguments.runs / name)
        record[part][name] = {**found, "environment": environment()}
        manifest.write_record(path, record)
    print(f"finished: {path}")


def _planned(arguments):
    """Yields name, `Way`, `Choice` and seed of every run of a command."""
    if arguments.compare == "criteria":
        for seed in SEEDS:
            for choice in CHOICES:
                yield f"{choice.name}-seed{seed}", CHOSEN_WAY, choice, seed
    else:
        for way in WAYS[: arguments.ways]:
            yield way.name, way, CHOICES[0], arguments.seed


def _run(rp, model, dataset, way, choice, seed, folder):
    """The results of one run as JSON values."""
    criterion = rp.criteria.named(
        choice.criterion,
        dataset,
        seed=seed,
        examples=choice.examples,
        recalibrate=choice.recalibrate,
    )
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
        run=rp.RunOptions(folder, seed=seed),
    )
    given, last = result.rounds
    pruned = rp.remove_units(model, chosen)
    return {
        **dataclasses.asdict(way),
        "criterion": choice.name,
        "removed": list(last.removed),
        "macs_ratio": last.macs / given.macs,
        "given": given.test["accuracy"],
        "removed_only": _test(pruned, dataset),
        "recalibrated": _test(rp.recalibrate(pruned, dataset), dataset),
        "retrained": last.test["accuracy"],
        "train": last.train["accuracy"],
        "seconds": last.seconds,
        "seed": seed,
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
    parser.add_argument(
        "--compare",
        choices=PLACES,
        default="ways",
        help="ways to retrain with one seed, or criteria with several "
        "(default: %(default)s)",
    )
    parser.add_argument("--ways", type=int, help="run only the first N ways")
    return parser


if __name__ == "__main__":
    main()
