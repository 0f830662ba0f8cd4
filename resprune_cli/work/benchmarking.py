"""The work of `resprune benchmark`."""

import pathlib
import tempfile

import keras
import numpy as np

from resprune_cli.options.usage import WrongUse, warn
from resprune_cli.work import data_source, deployed, measuring, model_file
from resprune_tf.deploy.file_outputs import file_inputs
from resprune_tf.deploy.registry import runtime_of
from resprune_tf.deploy.runtime_latency import runtime_latencies
from resprune_tf.runs.judging import format_value
from resprune_tf.system.disk import size_of
from resprune_tf.system.progress import say, shown, tracked
from resprune_tf.system.wording import counted
from resprune_tf.units.table import aligned


def benchmark(args):
    """Measures the latency of a model and, with data, the accuracy of its file.

    Args:
        args: parsed arguments.

    Returns:
        dict of JSON values.

    Raises:
        WrongUse: if the data do not fit, or if the runtime is unavailable.
        Failed: if the runtime does not support the model.
    """
    exported = runtime_of(args.model) is not None
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        if exported:
            path, model, data = args.model, None, None
            keras_model = _stand_in(args)
            if args.data is not None:
                data = data_source.read(args, keras_model)
        else:
            keras_model = model = model_file.load(
                args.model, args, compile=bool(args.data)
            )
            data = None if args.data is None else data_source.read(args, model)
            with deployed.on_runtime(args.runtime):
                place = pathlib.Path(folder) / "file"
                path = deployed.write(model, place, data, args)
        measured = {}
        if data is not None:  # before timing, because it may print a warning
            measured = _measured(path, keras_model, model, data, args)
        with deployed.on_runtime(args.runtime):
            times = []
            for _ in tracked(range(args.repeats), f"Timing on {args.runtime}"):
                with shown(None):  # hides the progress within a repeat
                    times += runtime_latencies(
                        [path],
                        args.runtime,
                        args.runtime_batch,
                        args.runs,
                        threads=args.threads,
                    )
        return {
            "model": str(args.model),
            "exported_for_this": not exported,
            "bytes": size_of(path),
            "latency": {**deployed.latency_summary(times), "threads": args.threads},
            **measured,
        }


def _stand_in(args):
    """A Keras model with the inputs of an exported file, to read data for it.

    Its outputs are its inputs.
    """
    with deployed.on_runtime(args.runtime):
        inputs = file_inputs(args.model, args.runtime)
    tensors = [
        keras.Input(shape[1:], dtype=dtype, name=f"input_{index}")
        for index, (_, shape, dtype) in enumerate(inputs)
    ]
    return keras.Model(tensors, tensors, name=args.model.stem)


def _measured(path, keras_model, model, data, args):
    """Measures the file on held-out examples."""
    x, y = data.splits[data.held_out]
    with deployed.on_runtime(args.runtime):
        (found, *others) = deployed.outputs(path, args.runtime, [x], model, args)
    if others:
        raise WrongUse(
            f"'{args.model}' has {1 + len(others)} outputs, but the command line "
            "measures only models with one output. Leave out --data to measure only "
            "the latency."
        )
    result = {"data": data.description, "split": data.held_out, "examples": len(x)}
    result.update(measures={}, doubt=None, agreement=None)
    if data.labelled:
        like, logits = keras_model, None
        if model is None:  # a file has no loss: the given or the default one is used
            answer = keras.Input(found.shape[1:])
            like = keras.Model(answer, answer, name=keras_model.name)
            logits = not _probabilities(found, args.loss)
            if data.class_names is not None:  # `_stand_in` does not have its outputs
                data_source.check_classes(like, data.class_names, args)
        splits = measuring.compile_for_labels(like, data, args, logits)
        labels = splits[data.held_out][1]
        measures, _ = deployed.measures_of_outputs(found, labels, like, args)
        if model is None and args.loss is None:
            del measures["loss"]  # that of the training is not known
        result["measures"] = measures
        result["doubt"] = measuring.guessing_warning(like, measures, len(x))
        if result["doubt"]:
            warn(result["doubt"], args)
    if model is not None and found.ndim == 2 and found.shape[1] > 1:
        say(f"Running the Keras model on {counted(len(x), 'example')} ...")
        expected = model.predict(x, batch_size=args.batch_size, verbose=0)
        (expected,) = keras.tree.flatten(expected)  # a model may return a dict
        result["agreement"] = float(np.mean(found.argmax(-1) == expected.argmax(-1)))
    return result


def _probabilities(outputs, loss):
    """Whether outputs look like probabilities: a file does not tell.

    Args:
        outputs: array `(examples, ..., classes)`.
        loss: name of the loss, or None.
    """
    if outputs.min() < 0 or outputs.max() > 1:
        return False
    classes = outputs.shape[-1]
    if classes == 1 or loss == "binary_crossentropy":  # each is from a sigmoid
        return True
    rounding = 1e-3 + classes / 512  # an int8 softmax gives multiples of 1/256
    return bool(np.all(np.abs(outputs.sum(-1) - 1) <= rounding))


def table(result):
    """Formats the result of `benchmark` as text."""
    time = result["latency"]
    medians = time["repeat_medians_ms"]
    rows = [
        ("median", f"{time['median_ms']:.3f} ms"),
        ("10th to 90th percentile", f"{time['p10_ms']:.3f} to {time['p90_ms']:.3f} ms"),
        ("medians of the repeats", f"{min(medians):.3f} to {max(medians):.3f} ms"),
        ("bytes", f"{result['bytes']:,}"),
    ]
    for name, value in result.get("measures", {}).items():
        rows.append((f"{result['split']} {name}", format_value(name, value)))
    if result.get("agreement") is not None:
        rows.append(("same class as in Keras", f"{result['agreement']:.1%}"))
    load = time["machine_load"]
    other_load = "The load of other processes is unknown on this system."
    if load is not None:
        other_load = f"Meanwhile other processes used {load:.0%} of the cores."
    lines = [
        f"{result['model']} on {time['runtime']}"
        + (", exported for this measurement" * result["exported_for_this"])
        + ":",
        *aligned(*rows),
        f"Latency of a call with {counted(time['batch_size'], 'image')} on "
        f"{counted(time['threads'], 'processor thread')}: "
        f"{counted(len(medians), 'repeat')} of {counted(time['runs'], 'call')}, each "
        "in a new process. Median and percentiles are those of the middle repeat.",
        time["busy"] or other_load,
    ]
    if "data" in result:
        lines += [
            f"Data: {result['data']}.",
            "The exported file was measured on "
            f"{counted(result['examples'], 'held-out example')}.",
        ]
    return "\n".join(lines)
