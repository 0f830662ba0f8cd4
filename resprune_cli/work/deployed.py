"""Exports models for a runtime, and measures the exported files."""

import contextlib

import keras

from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet
from resprune_cli.work import data_source, measuring, model_file
from resprune_tf.deploy.example_inputs import CALIBRATION_IMAGES, images_to_calibrate
from resprune_tf.deploy.export import ExportError
from resprune_tf.deploy.file_outputs import run_file
from resprune_tf.deploy.formats import check_formats, write_folded
from resprune_tf.deploy.fresh_process import RuntimeFailed
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS
from resprune_tf.deploy.signature import names_in
from resprune_tf.system.progress import say
from resprune_tf.system.wording import busy_note, counted


@contextlib.contextmanager
def on_runtime(runtime, hint=""):
    """Context in which errors of a runtime or its converter name `--runtime`."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise WrongUse(f"--runtime {runtime}: {error}{hint}") from error
    except (RuntimeFailed, ExportError) as error:
        raise Failed(f"--runtime {runtime}: {error}") from error


def calibration_images(data, args):
    """Random training images, from which int8 files get their ranges."""
    train = data.splits["train"]
    return data_source.sample(*train, CALIBRATION_IMAGES, args.seed)[0]


def write(model, folder, data, args, name=None):
    """Exports a model for `--runtime` into a new folder.

    Args:
        model: a functional `keras.Model`.
        folder: `pathlib.Path`.
        data: `Data` whose training examples calibrate the ranges of activations if the
            format needs them; None for noise.
        args: parsed arguments.
        name: name of the model in the progress message; its own name by default.

    Returns:
        The path of the exported file.
    """
    (format,) = check_formats(RUNTIME_FORMATS[args.runtime])
    calibration = None
    if FORMATS[format].calibrated and data is not None:
        calibration = images_to_calibrate(model, calibration_images(data, args))
    say(f"Exporting {name or repr(model.name)} as {format} ...")
    folder.mkdir()
    with quiet():
        return write_folded(format, model, folder, calibration)


def outputs(path, runtime, examples, model, args, name=None):
    """Computes the outputs of an exported file: list of arrays.

    Args:
        path: path of the file.
        runtime: value of `--runtime`.
        examples: list of arrays, one per input.
        model: the Keras model that was exported, or None.
        args: parsed arguments.
        name: name of the model in the progress message.
    """
    of_model = f" of {name}" if name else ""
    count = counted(len(examples[0]), "example")
    say(f"Running the {runtime} file{of_model} on {count} ...")
    names = None if model is None else names_in(RUNTIME_FORMATS[runtime], model)
    return run_file(path, runtime, examples, names, args.batch_size)


def measures_of_outputs(found, labels, like, args, name=None):
    """Computes loss and metrics from outputs.

    Args:
        found: outputs, an array `(examples, ...)`.
        labels: labels in the form of the loss.
        like: compiled model with the loss and metrics to compute.
        args: parsed arguments.
        name: name of the model in the progress message.

    Returns:
        dict from the name of a measure to its value, and the result of
        `measuring.correct`.
    """
    answer = keras.Input(found.shape[1:])
    try:
        identity = model_file.compiled_as(keras.Model(answer, answer), like)
    except ValueError as error:
        raise WrongUse(
            f"The loss and the metrics of '{like.name}' cannot be computed from the "
            f"outputs of an exported file: {error} Give others by --loss and --metric."
        ) from error
    say(f"Measuring loss and metrics of {name or 'the file'} ...")
    measured = measuring.evaluate(identity, found, labels, args.batch_size)
    right = measuring.correct(identity, found, labels, args.batch_size, measured, like)
    return measured, right


def latency_summary(times):
    """The latencies of one model in ms, as JSON values.

    Args:
        times: list of `Latency` of the same model, each measured in a new process.
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
