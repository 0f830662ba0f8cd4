"""The options of `resprune prune`."""

from resprune_cli.options import usage, values
from resprune_cli.options.registries import registry


def add_target_options(parser):
    """Adds the options that say how small or fast the pruned model must be."""
    group = parser.add_argument_group("target")
    group.add_argument(
        "--target",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="layers=32 or units=10 (number that remains); macs=0.6 (fraction of the "
        "model's MACs; or 60%%, or 50M); flops=100M (one multiply-accumulate is two "
        "FLOPs, so this is macs=50M; fractions are equal); parameters=0.6; size=0.6 "
        "(of the file that `resprune export` writes, folded and without an optimizer, "
        "not of MODEL itself; or 2MB); latency=0.7 (or 5ms). May be repeated; all "
        "targets must be met.",
    )
    group.add_argument(
        "--file-format",
        type=registry("deploy.registry").known_as,
        choices=usage.FORMATS,
        help="format of the exported file for a size target (default keras).",
    )
    usage.add_runtime_option(
        group,
        help="runtime on which a latency target is measured, on this processor "
        "unless there is a --latency-command.",
    )
    usage.add_latency_options(group, " for a latency target")
    group.add_argument(
        "--latency-command",
        metavar="COMMAND",
        type=values.command,
        help="program that measures the latency target on another device, such as a "
        "phone. The path of an exported model for --runtime is appended to COMMAND. "
        "The last line of its standard output must be the time of one call in "
        "milliseconds. Whenever models are compared, the program is called three times "
        "per model, without a shell.",
    )


def add_choice_options(parser):
    """Adds the options that say which units are removed."""
    group = parser.add_argument_group("units to remove")
    group.add_argument(
        "--criterion",
        choices=usage.CRITERIA,
        help="criterion that scores the units; docs/scores.md describes each, and "
        "`resprune scores` compares them on a model. Default: "
        "importance if the model has trained factors ω, otherwise block_influence: 1 - "
        "cosine similarity between a unit's input and output. With retraining, "
        "--criterion importance adds a factor ω to each residual branch. All factors "
        "start at 1, so train for many epochs.",
    )
    group.add_argument(
        "--protect",
        metavar="UNIT",
        action="append",
        default=[],
        help="name of a unit that must not be removed, as `resprune inspect` lists it. "
        "May be repeated.",
    )
    usage.add_expand_option(group)
    usage.add_score_options(group)
    group.add_argument(
        "--recalibrate",
        action="store_true",
        help="re-estimate BatchNormalization statistics from training examples before "
        "units are scored, and with --epochs 0 also for the pruned model, in steps of "
        f"{usage.RECALIBRATION_BATCH} examples unless --batch-size is given.",
    )


def add_training_options(parser):
    """Adds the options for retraining, and for how much worse a metric may become."""
    group = parser.add_argument_group("retraining")
    group.add_argument(
        "--epochs",
        metavar="N",
        type=values.epochs,
        default=10,
        help="epochs of each retraining (default 10); 0 prunes without retraining.",
    )
    group.add_argument(
        "--initial-epochs",
        metavar="N",
        type=values.epochs,
        help="epochs of training before the first removal. The default is 0 for a "
        "trained model: pruned models are then compared with the given model. It is "
        "the value of --epochs if the model is no better than guessing (see "
        "--allow-guessing), or if --criterion importance adds the factors ω.",
    )
    group.add_argument(
        "--units-per-round",
        metavar="N",
        type=values.count_or_all,
        help="number of units to remove before each retraining. With all, the units "
        "that the target requires are removed one by one and the model is retrained "
        "once. The default is all if there is a --target, and neither initial training "
        "nor --stop-on-drop; otherwise 1.",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="precision of the computations in training. Weights and the written "
        "model are float32. auto (default) is bfloat16 if this machine supports it "
        "natively and all layers are Keras's own, otherwise float32.",
    )
    group.add_argument(
        "--optimizer",
        metavar="NAME",
        help="optimizer of Keras, such as sgd (default: the one that the model was "
        "compiled with, otherwise adam).",
    )
    group.add_argument(
        "--learning-rate",
        metavar="RATE",
        type=values.positive,
        help="highest learning rate of each training. The default without initial "
        "training is 0.02 with sgd and 0.0005 with other optimizers; otherwise it is "
        "the learning rate that the model was compiled with.",
    )
    group.add_argument(
        "--schedule",
        choices=usage.SCHEDULES,
        help="schedule of the learning rate within each training. The default without "
        "initial training is warmup_linear, which rises over the first tenth and then "
        "decreases to 0; otherwise it is constant.",
    )
    group.add_argument(
        "--no-teacher",
        action="store_true",
        help="retrain on the labels alone. By default the given model is the teacher "
        "of a pruned classifier. This takes more time per step and maintains more "
        "accuracy.",
    )
    group.add_argument(
        "--augment",
        metavar="HOW",
        type=values.augmentation,
        help="random augmentation of training images: flip (mirrored), crop=4 (shifted "
        "by up to 4 pixels), or flip,crop=4. Give the augmentation that the model was "
        "trained with. Without it, retraining and BatchNormalization statistics lose "
        "accuracy.",
    )
    group.add_argument(
        "--monitor",
        metavar="NAME",
        help="metric or loss that pruned models are judged by (default accuracy, if "
        "it is measured).",
    )
    group.add_argument(
        "--tolerance",
        metavar="AMOUNT",
        type=values.tolerance,
        help="by how much the metric may become worse. For an accuracy: a fraction "
        "below 1, such as 0.005 for half a percentage point, or auto: one standard "
        "error of the accuracy p of round 0 on n held-out examples, "
        "sqrt(p (1 - p) / n), but at least 1 / n. For another metric or the loss: an "
        "amount in its own units. The default is auto for an accuracy and 0 otherwise; "
        "with --epochs 0 no model is judged by default. If the command is repeated "
        "with another tolerance, the finished rounds are judged again without "
        "training.",
    )
    group.add_argument(
        "--allow-guessing",
        action="store_true",
        help="prune a classifier whose accuracy is no better than guessing, such as an "
        "untrained one. Without this option it is an error, because usually the pixels "
        "are scaled differently from what the model expects (--pixels).",
    )
    group.add_argument(
        "--stop-on-drop",
        action="store_true",
        help="stop at the first round whose metric is worse by more than --tolerance.",
    )
    group.add_argument(
        "--max-rounds",
        metavar="N",
        type=values.count,
        help="stop after N rounds of removal.",
    )
    group.add_argument(
        "--minutes",
        metavar="N",
        type=values.positive,
        help="stop after N minutes; the same command continues the run.",
    )
