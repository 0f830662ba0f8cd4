"""Models as they are deployed: files that a runtime times, runs and is judged by."""

import contextlib

import keras

from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet
from resprune_cli.work import model_file, terms
from resprune_tf.deploy.example_inputs import images_to_calibrate
from resprune_tf.deploy.export import ExportError
from resprune_tf.deploy.file_outputs import file_outputs
from resprune_tf.deploy.formats import check_formats, write_folded
from resprune_tf.deploy.fresh_process import RuntimeFailed
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS
from resprune_tf.system.progress import say
from resprune_tf.system.wording import busy_note


@contextlib.contextmanager
def on_runtime(runtime, hint=""):
    """Inside, what a runtime or its converter refuses is told as the option's fault."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise WrongUse(f"--runtime {runtime}: {error}{hint}") from error
    except (RuntimeFailed, ExportError) as error:
        raise Failed(f"--runtime {runtime}: {error}") from error


def write(model, runtime, folder, data=None):
    """Writes a model for a runtime, in a new folder; returns the path of the file.

    Args:
        model: a functional `keras.Model`.
        runtime: of `--runtime`.
        folder: `pathlib.Path`.
        data: `Data`, on whose training examples ranges of activations are measured,
            where the format needs them; by default noise.
    """
    (name,) = check_formats(RUNTIME_FORMATS[runtime])
    calibration = None
    if FORMATS[name].calibrated and data is not None:
        calibration = images_to_calibrate(model, data.splits["train"][0][:500])
    say(f"Writing '{model.name}' as {name} ...")
    folder.mkdir()
    with quiet():
        return write_folded(name, model, folder, calibration)


def outputs(path, runtime, examples, model, args):
    """Outputs of a written model: list of arrays.

    Args:
        path: of the file.
        runtime: of `--runtime`.
        examples: list of arrays, one for each input.
        model: the Keras model that was written, or None.
        args: parsed arguments.
    """
    say(f"Running the {runtime} file on {len(examples[0]):,} examples ...")
    return file_outputs(path, runtime, examples, model, args.batch_size)


def judged(found, labels, like, args):
    """What a loss and metrics say of outputs, and which of them are correct.

    Args:
        found: outputs, an array `(examples, ...)`.
        labels: as the loss takes them.
        like: the compiled model whose loss and metrics are meant.
        args: parsed arguments.

    Returns:
        dict from the name of a measure to its value, and what `terms.correct` returns.
    """
    answer = keras.Input(found.shape[1:])
    try:
        net = model_file.compiled_as(keras.Model(answer, answer), like)
    except ValueError as error:
        raise WrongUse(
            f"The loss and the metrics of '{like.name}' cannot be computed from the "
            f"outputs of a file: {error} Give others by --loss and --metric."
        ) from error
    measured = terms.evaluate(net, found, labels, args.batch_size)
    return measured, terms.correct(net, found, labels, args.batch_size, measured, like)


def latency_told(times):
    """What was timed of one model, as JSON values.

    Args:
        times: list of `Latency` of the same model, each of a process of its own.
    """
    medians = sorted(time.median_ms for time in times)
    middle = times[[time.median_ms for time in times].index(medians[len(times) // 2])]
    loads = [time.load for time in times if time.load is not None]
    return {
        "runtime": middle.runtime,
        "batch_size": middle.batch_size,
        "runs": middle.runs,
        "median_ms": middle.median_ms,
        "p10_ms": middle.p10_ms,
        "p90_ms": middle.p90_ms,
        "repeat_medians_ms": [time.median_ms for time in times],
        "machine_load": max(loads, default=None),
        "busy": busy_note(*loads),
    }
