"""The options of `resprune prune`."""

from resprune_cli.options import usage, values
from resprune_cli.options.registries import registry


def add_target_options(parser):
    """Options on what is to be reached."""
    group = parser.add_argument_group("target")
    group.add_argument(
        "--target",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="layers=32 or units=10 (so many left), macs=0.6 (a share of the model's; "
        "or 60%%, or 50M), flops=100M (one multiply-accumulate is two FLOPs: the same "
        "as macs=50M; shares are equal), parameters=0.6, size=0.6 (of the file that "
        "`resprune export` writes, folded and without an optimizer, not of MODEL "
        "itself; or 2MB), latency=0.7 (or 5ms). May be repeated: all must "
        "hold.",
    )
    group.add_argument(
        "--file-format",
        type=registry("deploy.registry").known_as,
        choices=usage.FORMATS,
        help="of the exported file that a size is of (default keras).",
    )
    usage.add_runtime_option(
        group, help="what runs the model to measure a latency, on this processor."
    )
    usage.add_latency_options(group, " for a latency")


def add_choice_options(parser):
    """Options on which units go."""
    group = parser.add_argument_group("which units go")
    group.add_argument(
        "--criterion",
        choices=usage.CRITERIA,
        help="what units are scored by; see `resprune scores --help`. Default: "
        "block_influence, how far a unit turns its input, or importance, if the model "
        "has learned factors ω. With retraining, --criterion importance gives each "
        "residual branch such a factor: train long, for all of them begin at 1.",
    )
    group.add_argument(
        "--protect",
        metavar="UNIT",
        action="append",
        default=[],
        help="name of a unit that must stay, as `resprune inspect` lists it. May be "
        "repeated.",
    )
    usage.add_expand_option(group)
    usage.add_score_options(group)
    group.add_argument(
        "--recalibrate",
        action="store_true",
        help="estimate BatchNormalization statistics anew from training examples: "
        "before units are scored, and with --epochs 0 of the shorter model.",
    )


def add_training_options(parser):
    """Options on retraining, and on what counts as held."""
    group = parser.add_argument_group("retraining")
    group.add_argument(
        "--epochs",
        metavar="N",
        type=values.epochs,
        default=10,
        help="of each retraining (default 10); 0 retrains nothing.",
    )
    group.add_argument(
        "--initial-epochs",
        metavar="N",
        type=values.epochs,
        help="of a training before the first removal (default 0: the model is taken "
        "as it is, and what is left is compared with that; as --epochs for one that "
        "guesses, with --allow-guessing, or gets its importances only now).",
    )
    group.add_argument(
        "--units-per-round",
        metavar="N",
        type=values.count_or_all,
        help="units to remove before each retraining; all: as many as the target "
        "requires at once, chosen one by one, and retrained once (default: all for a "
        "model that is taken as it is and has a --target, without --stop-on-drop; "
        "else 1).",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of the computations in training; weights and the written model are "
        "float32. auto (default): bfloat16, if this machine computes it natively and "
        "all layers are Keras's own, else float32.",
    )
    group.add_argument(
        "--optimizer",
        metavar="NAME",
        help="of Keras, such as sgd (default: as the model was compiled, else adam).",
    )
    group.add_argument(
        "--learning-rate",
        metavar="RATE",
        type=values.positive,
        help="the highest of every training (default: for a model that is taken as it "
        "is, 0.02 with sgd and 0.0005 with other optimizers; else that which it was "
        "compiled with).",
    )
    group.add_argument(
        "--schedule",
        choices=usage.SCHEDULES,
        help="of the learning rate within a training (default: for a model that is "
        "taken as it is, warmup_linear, up over the first tenth and down to 0; else "
        "constant).",
    )
    group.add_argument(
        "--no-teacher",
        action="store_true",
        help="retrain by the labels alone. By default the model as given is the "
        "teacher of a shorter classifier, which takes more time a step and keeps more "
        "accuracy.",
    )
    group.add_argument(
        "--augment",
        metavar="HOW",
        type=values.augmentation,
        help="how training images are changed at random: flip (mirrored), crop=4 "
        "(shifted by up to 4 pixels), or flip,crop=4. Say here what the model was "
        "trained with: without it, retraining and the statistics of "
        "BatchNormalization lose accuracy.",
    )
    group.add_argument(
        "--monitor",
        metavar="NAME",
        help="the metric, or loss, that must hold (default accuracy, if it is "
        "measured).",
    )
    group.add_argument(
        "--tolerance",
        metavar="AMOUNT",
        type=values.tolerance,
        help="accepted decrease of the metric. Of an accuracy: a fraction below 1, "
        "such as 0.005 for half a percentage point, or auto: one standard error of the "
        "accuracy of round 0, sqrt(p (1 - p) / n) on n held-out examples, at least one "
        "example. Of another metric, or the loss: an amount in its own units. Default: "
        "auto for an accuracy, 0 otherwise; with --epochs 0 nothing is judged. When "
        "the command is repeated with another tolerance, the finished rounds are "
        "judged again without training.",
    )
    group.add_argument(
        "--allow-guessing",
        action="store_true",
        help="prune a classifier whose accuracy is that of guessing, such as one that "
        "is not trained yet. Without it that is an error: as a rule the pixels are "
        "scaled otherwise than the model takes them (--pixels).",
    )
    group.add_argument(
        "--stop-on-drop",
        action="store_true",
        help="end at the first round that does not hold it.",
    )
    group.add_argument(
        "--max-rounds", metavar="N", type=values.count, help="end after N removals."
    )
    group.add_argument(
        "--minutes",
        metavar="N",
        type=values.positive,
        help="stop after N minutes; the same command continues.",
    )
