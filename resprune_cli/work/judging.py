"""Determines the measure and the tolerance by which pruned models are judged."""

from resprune_cli.options.tolerances import check_tolerance
from resprune_cli.options.usage import WrongUse
from resprune_cli.work import measuring
from resprune_tf.runs.judging import AUTO, direction, is_accuracy
from resprune_tf.system.progress import say
from resprune_tf.system.wording import first_line


def choose_monitor(model, splits, args):
    """Determines the name of the measure that pruned models are judged by.

    Args:
        model: a compiled `keras.Model`.
        splits: labelled examples by the name of their split.
        args: parsed arguments with `monitor` and `tolerance`.

    Raises:
        WrongUse: if loss and metrics do not fit the data, if the model does not measure
            `monitor`, if its direction is unknown, or if the tolerance does not suit
            it.
    """
    x, y = splits["validation"]
    say("Compiling the evaluation of loss and metrics ...")
    try:
        measured = measuring.evaluate(
            model, x[: args.batch_size], y[: args.batch_size], args.batch_size
        )
    except Exception as error:
        raise WrongUse(
            f"Loss and metrics do not fit the data: {first_line(error)} Give others by "
            "--loss and --metric."
        ) from error
    monitor = measuring.monitored(list(measured), args.monitor)
    try:
        direction(model, monitor)
    except ValueError as error:
        raise WrongUse(f"--monitor {monitor}: {error}") from error
    check_tolerance(monitor, args.tolerance)
    return monitor


def default_tolerance(monitor):
    """The default tolerance of a run with retraining; prints it if it is 0."""
    if is_accuracy(monitor):
        return AUTO
    print(
        f"A model with a worse {monitor} is not accepted. To accept it, give "
        "--tolerance, an amount in its units.",
        flush=True,
    )
    return 0.0
