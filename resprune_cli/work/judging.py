"""What a pruning is judged by, settled before any work is done on the model."""

from resprune_cli.options.usage import WrongUse
from resprune_cli.work import terms
from resprune_tf.runs.judging import AUTO, direction, is_accuracy


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
    if args.tolerance == AUTO:
        if not is_accuracy(monitor):
            raise WrongUse(
                "--tolerance auto is the standard error of an accuracy. For "
                f"--monitor {monitor} give an amount in its units, such as 0.01."
            )
    elif monitor == "accuracy" and (args.tolerance or 0) >= 1:
        raise WrongUse(
            "--tolerance of an accuracy is a fraction below 1: 0.01 is one percentage "
            f"point. Received: {args.tolerance:g}."
        )
    return monitor


def usual_tolerance(monitor):
    """The tolerance of a run with retraining that is given none."""
    if is_accuracy(monitor):
        return AUTO
    print(
        f"No decrease of {monitor} is accepted. --tolerance accepts one, as an amount "
        "in its units.",
        flush=True,
    )
    return 0.0
