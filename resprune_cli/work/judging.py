"""What a pruning is judged by, settled before any work is done on the model."""

from resprune_cli.options.usage import WrongUse
from resprune_cli.work import terms
from resprune_tf.runs.judging import direction


def choose_monitor(model, splits, args):
    """The name of the measure that must hold.

    Args:
        model: a compiled `keras.Model`.
        splits: labelled examples by the name of their split.
        args: parsed arguments: `monitor`, `tolerance`.

    Raises:
        WrongUse: if loss and metrics do not fit the data, the measure asked for is not
            measured, its direction is not known, or the tolerance is none of it.
    """
    x, y = splits["validation"]
    try:
        measured = terms.evaluate(
            model, x[: args.batch_size], y[: args.batch_size], args.batch_size
        )
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WrongUse(
            f"Loss and metrics do not fit the data: {line} Perhaps other ones do: "
            "--loss, --metric."
        ) from error
    monitor = terms.monitored(list(measured), args.monitor)
    try:
        direction(model, monitor)
    except ValueError as error:
        raise WrongUse(f"--monitor {monitor}: {error}") from error
    if monitor == "accuracy" and (args.tolerance or 0) >= 1:
        raise WrongUse(
            "--tolerance of an accuracy is a fraction below 1: 0.01 is one point of "
            f"100. Received: {args.tolerance:g}."
        )
    return monitor
