"""The work of `resprune compare`."""

import pathlib
import tempfile

import keras
import numpy as np

from resprune_cli.options import usage
from resprune_cli.work import data_source, deployed, measuring, model_file
from resprune_tf import find_units
from resprune_tf.deploy.example_inputs import images_to_compare
from resprune_tf.deploy.runtime_latency import runtime_latencies
from resprune_tf.graph.outputs import decides
from resprune_tf.runs.judging import format_paired
from resprune_tf.runs.paired import compare_correct
from resprune_tf.system.progress import say
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.measures import file_bytes, measure
from resprune_tf.units.table import aligned

_COMPARED = 256  # number of examples whose outputs are compared
_NAMES = ("A", "B")  # both models often have the same name


def compare(args):
    """Measures two models and compares them.

    Args:
        args: parsed arguments.

    Returns:
        dict of JSON values: `"a"` and `"b"`, dicts from the name of a measure to a
        number; `"ratios"`, B / A for the measures that both have; `"outputs"`, the
        difference of the outputs; `"files"` and `"closed"`, the paths and the layers
        not searched for units. With data also `"data"`, `"doubts"` and, for
        classifiers, `"paired"`; with a runtime also `"latency"`.

    Raises:
        WrongUse: if the data do not fit the models.
        Failed: if the runtime does not support a model.
    """
    paths = args.a, args.b
    models = [
        model_file.load(path, args, compile=args.data is not None) for path in paths
    ]
    if args.expand:
        models = [model_file.expanded_if_possible(model) for model in models]
    say("Counting layers, MACs and bytes ...")
    found = [_size(model, path) for model, path in zip(models, paths, strict=True)]
    data = _data(models, args)
    result = {"files": [str(path) for path in paths], "a": found[0], "b": found[1]}
    result["closed"] = [_closed(model) for model in models]
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        files = [None, None]
        if args.runtime != "none":
            hint = " --runtime none times nothing."
            with deployed.on_runtime(args.runtime, hint):
                files = [
                    deployed.write(
                        model, pathlib.Path(folder, name), of_model, args, name
                    )
                    for name, model, of_model in zip(_NAMES, models, data, strict=True)
                ]
        if args.data is None:
            result["outputs"] = _outputs(models, files, None, False, args)
        else:  # before timing, because it may print a warning
            result.update(_measured(models, files, data, found, args))
        if args.runtime != "none":
            with deployed.on_runtime(args.runtime):
                result["latency"] = _timed(files, found, args)
    a, b = found
    ratios = {name: b[name] / a[name] for name in a if a[name] and name in b}
    if "latency" in result:
        ratios["latency_ms"] = result["latency"].pop("ratio")
    return {**result, "ratios": ratios}


def _data(models, args):
    """The `Data` of each model, read once if both have the same input; or Nones."""
    if args.data is None:
        return [None, None]
    first = data_source.read(args, models[0])
    if models[1].input_shape == models[0].input_shape:
        if first.class_names and models[1].output_shape != models[0].output_shape:
            data_source.check_classes(models[1], first.class_names, args)
        return [first, first]
    return [first, data_source.read(args, models[1])]


def _timed(files, found, args):
    """Times files by alternating calls.

    Adds the medians in ms to `found`, and returns everything else as JSON values.
    """
    times = runtime_latencies(
        files, args.runtime, args.runtime_batch, threads=args.threads
    )
    for each, time in zip(found, times, strict=True):
        each["latency_ms"] = time.median_ms
    turns = times[1].ratios(times[0])
    low, middle, high = map(float, np.percentile(turns, (10, 50, 90)))
    return {
        "runtime": args.runtime,
        "batch_size": args.runtime_batch,
        "threads": args.threads,
        "ratio": middle,
        "ratio_p10_p90": [low, high],
        "machine_load": times[0].load,
        "busy": busy_note(*(time.load for time in times)),
    }


def _measured(models, files, data, found, args):
    """Measures both models on held-out examples, and compares their outputs.

    Adds the measures to `found`. If the models were exported, they are those of the
    exported files.
    """
    doubts, outputs, correct = [], [], []
    for name, each, model, file, of_model in zip(
        _NAMES, found, models, files, data, strict=True
    ):
        split = of_model.held_out
        x, y = of_model.splits[split]
        if of_model.labelled:
            y = measuring.compile_for_labels(model, of_model, args)[split][1]
        if file is not None:
            with deployed.on_runtime(args.runtime):
                outputs.append(
                    deployed.outputs(file, args.runtime, [x], model, args, name)
                )
        if of_model.labelled:
            if file is None:
                say(f"Measuring {name} on {counted(len(x), 'example')} ...")
                measured = measuring.evaluate(model, x, y, args.batch_size)
                right = measuring.correct(model, x, y, args.batch_size, measured)
            else:
                measured, right = deployed.measures_of_outputs(
                    outputs[-1][0], y, model, args, name
                )
            correct.append(right)
            for measure_name, value in measured.items():
                each[f"{split} {measure_name}"] = value
            if warning := measuring.guessing_warning(model, measured, len(x)):
                doubts.append(f"{name}: {warning}")
                usage.warn(doubts[-1], args)
    losses = [measuring.full_loss_name(model) for model in models if model.compiled]
    labelled = data[0].labelled
    if labelled and len(set(losses)) > 1:
        doubts.append(f"The losses differ: {' and '.join(losses)}.")
        usage.warn(doubts[-1], args)
    of_classes = not labelled or data[0].of_classes
    of_classes = of_classes and all(decides(model) for model in models)
    examples = _compared(data[0].splits[data[0].held_out][0], args)
    outputs = [[_compared(each, args) for each in arrays] for arrays in outputs]
    result = {"data": data[0].description, "doubts": doubts}
    if labelled and None not in correct:
        result["paired"] = {**compare_correct(*correct), "examples": len(x)}
    result["outputs"] = _outputs(models, files, examples, of_classes, args, outputs)
    return result


def _compared(array, args):
    """The rows of an array for the examples whose outputs are compared."""
    return data_source.sample(array, None, _COMPARED, args.seed)[0]


def table(result):
    """Formats the result of `compare` as text."""
    a, b = result["files"]
    rows = [("", a, b, "ratio")]
    for name in {**result["a"], **result["b"]}:
        texts = [
            measuring.cell(name, each.get(name)) for each in (result["a"], result["b"])
        ]
        ratio = result["ratios"].get(name)
        rows.append((name, *texts, "" if ratio is None else f"{ratio:.3f}"))
    lines = [*aligned(*rows), usage.FILE_BYTES, usage.EXPORTED_BYTES]
    for name, path, closed in zip(
        _NAMES, result["files"], result["closed"], strict=True
    ):
        if closed:
            lines.append(
                f"Not searched for residual units in {name}, {path}: "
                f"{', '.join(closed)}. Units inside are not counted. --expand opens "
                "such layers if possible."
            )
    if "latency" in result:
        how = result["latency"]
        low, high = how["ratio_p10_p90"]
        lines.append(
            f"Latency: median of a call on {how['runtime']}, batch size "
            f"{how['batch_size']}, {counted(how['threads'], 'thread')}. Both models "
            "were folded, and calls of the two alternated. The 10th to 90th percentile "
            f"of the ratios is {low:.3f} to {high:.3f}."
        )
        if how["busy"]:
            lines.append(how["busy"])
        if "data" in result:
            lines.append(
                "Held-out measures and outputs are those of the exported "
                f"{how['runtime']} files that were timed."
            )
    if "data" in result:
        lines.append(f"Data: {result['data']}.")
    if paired := result.get("paired"):
        lines.append(f"B instead of A: {format_paired(paired, paired['examples'])}.")
    lines.append(_outputs_text(result["outputs"]))
    return "\n".join(lines)


def _size(model, path):
    return {
        "file_bytes": path.stat().st_size,
        "exported_keras_bytes": file_bytes(model, "keras"),
        **measure(model),
    }


def _closed(model):
    """Names of the layers that may contain or end units which are not found."""
    units = find_units(model)
    found = (*units.opaque, *units.possible_merges)
    return list(dict.fromkeys(each.name for each in found))


def _outputs(models, files, examples, of_classes, args, known=()):
    """Compares the outputs of both models on examples or on noise.

    Args:
        models: both `keras.Model`s.
        files: paths of their exported files, whose outputs are compared; two Nones
            compare the Keras models.
        examples: array, or None for noise.
        of_classes: whether the largest output is the predicted class.
        args: parsed arguments.
        known: the outputs of each file for `examples`, if they are known.

    Returns:
        dict of JSON values; None if the outputs cannot be compared.
    """
    shapes = [
        [tuple(tensor.shape[1:]) for tensor in (*model.inputs, *model.outputs)]
        for model in models
    ]
    if shapes[0] != shapes[1]:
        return None
    on = "examples of the data"
    if examples is None:
        on = "inputs of noise"
        try:
            examples = images_to_compare(models[0])
        except ValueError:  # the model does not accept noise
            return None
    else:
        examples = [examples]
    count = len(examples[0])
    if known:
        values = known
    elif files[0] is not None:
        with deployed.on_runtime(args.runtime):
            values = [
                deployed.outputs(file, args.runtime, examples, model, args, name)
                for file, model, name in zip(files, models, _NAMES, strict=True)
            ]
    else:
        values = [
            _predicted(model, examples, name)
            for model, name in zip(models, _NAMES, strict=True)
        ]
    first, other = values
    result = {
        "on": on,
        "of": "Keras models" if files[0] is None else f"{args.runtime} files",
        "count": count,
        "max_abs_difference": max(
            float(np.abs(x - y).max()) for x, y in zip(first, other, strict=True)
        ),
        "max_abs": max(float(np.abs(x).max()) for x in first),
    }
    if of_classes:
        result["agreement"] = float((first[0].argmax(-1) == other[0].argmax(-1)).mean())
    return result


def _predicted(model, examples, name):
    say(f"Running {name} on {counted(len(examples[0]), 'example')} ...")
    inputs = keras.tree.pack_sequence_as(model._inputs_struct, examples)
    outputs = keras.tree.flatten(model.predict(inputs, verbose=0))
    return [np.asarray(each, "float32") for each in outputs]


def _outputs_text(outputs):
    if outputs is None:
        return (
            "Outputs cannot be compared: inputs or outputs have different shapes, or "
            "the model does not accept noise."
        )
    text = (
        f"Outputs on {outputs['count']} {outputs['on']} differ by at most "
        f"{outputs['max_abs_difference']:.3g}; the largest output is "
        f"{outputs['max_abs']:.3g}"
    )
    if "agreement" in outputs:
        text += f"; the predicted class is the same for {outputs['agreement']:.1%}"
    return f"{text}."
