"""The work of `resprune compare`."""

import pathlib
import tempfile

import keras
import numpy as np

from resprune_cli.options import usage
from resprune_cli.work import data_source, deployed, model_file, terms
from resprune_tf import find_units
from resprune_tf.deploy.example_inputs import images_to_compare
from resprune_tf.deploy.runtime_latency import runtime_latencies
from resprune_tf.graph.outputs import decides
from resprune_tf.runs.judging import compare_correct, format_paired, format_value
from resprune_tf.system.progress import say
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.measures import file_bytes, measure
from resprune_tf.units.table import aligned

_COMPARED = 256  # examples whose outputs are compared


def compare(args):
    """What two models cost and measure.

    Args:
        args: parsed arguments.

    Returns:
        dict of JSON values: of `"a"` and of `"b"` a dict from measure to number,
        `"ratios"` of what both have, and `"outputs"`, how far these differ.

    Raises:
        WrongUse: if data do not fit the models.
        Failed: if a runtime does not take one.
    """
    paths = args.a, args.b
    models = [
        model_file.load(path, args, compile=args.data is not None) for path in paths
    ]
    if args.expand:
        models = [model_file.opened_as_far_as_possible(model) for model in models]
    say("Counting layers, MACs and bytes ...")
    found = [_size(model, path) for model, path in zip(models, paths, strict=True)]
    data = _data(models, args)
    told = {"files": [str(path) for path in paths], "a": found[0], "b": found[1]}
    told["closed"] = [_closed(model) for model in models]
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        files = [None, None]
        if args.runtime != "none":
            hint = " --runtime none times nothing."
            with deployed.on_runtime(args.runtime, hint):
                files = [
                    deployed.write(
                        model, args.runtime, pathlib.Path(folder, name), of_model
                    )
                    for name, model, of_model in zip("ab", models, data, strict=True)
                ]
                told["latency"] = _timed(files, found, args)
        if args.data is None:
            told["outputs"] = _outputs(models, files, None, False, args)
        else:
            told.update(_measured(models, files, data, found, args))
    a, b = found
    ratios = {name: b[name] / a[name] for name in a if a[name] and name in b}
    if "latency" in told:
        ratios["latency_ms"] = told["latency"].pop("ratio")
    return {**told, "ratios": ratios}


def _data(models, args):
    """The `Data` of each model, read once if both take the same; None without any."""
    if args.data is None:
        return [None, None]
    first = data_source.read(args, models[0])
    if models[1].input_shape == models[0].input_shape:
        return [first, first]
    return [first, data_source.read(args, models[1])]


def _timed(files, found, args):
    """Times files in turns: the medians go into `found`, the rest is returned."""
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
    """What both measure on held-out examples, and how far their outputs differ there.

    Measures go into `found`. Where models are timed they are of the timed files.
    """
    doubts, outputs, correct = [], [], []
    for each, model, file, of_model in zip(found, models, files, data, strict=True):
        split = of_model.held_out
        x, y = of_model.splits[split]
        if of_model.labelled:
            y = terms.compile_for_labels(model, of_model, args)[split][1]
        if file is not None:
            with deployed.on_runtime(args.runtime):
                outputs.append(deployed.outputs(file, args.runtime, [x], model, args))
        if of_model.labelled:
            if file is None:
                say(f"Measuring '{model.name}' on {counted(len(x), 'example')} ...")
                measured = terms.evaluate(model, x, y, args.batch_size)
                right = terms.correct(model, x, y, args.batch_size, measured)
            else:
                measured, right = deployed.judged(outputs[-1][0], y, model, args)
            correct.append(right)
            for name, value in measured.items():
                each[f"{split} {name}"] = value
            if doubt := terms.doubt(model, measured):
                doubts.append(doubt)
    losses = [terms.full_loss_name(model) for model in models if model.compiled]
    labelled = data[0].labelled
    if labelled and len(set(losses)) > 1:
        doubts.append(f"The losses differ: {' and '.join(losses)}.")
    of_classes = not labelled or data[0].of_classes
    of_classes = of_classes and all(decides(model) for model in models)
    examples = data[0].splits[data[0].held_out][0][:_COMPARED]
    told = {"data": data[0].told, "doubts": doubts}
    if labelled and None not in correct:
        told["paired"] = {**compare_correct(*correct), "examples": len(x)}
    told["outputs"] = _outputs(models, files, examples, of_classes, args, outputs)
    return told


def table(told):
    """What `compare` returned, as lines of text."""
    a, b = told["files"]
    rows = [("", a, b, "ratio")]
    for name in {**told["a"], **told["b"]}:
        texts = [_told(name, each.get(name)) for each in (told["a"], told["b"])]
        ratio = told["ratios"].get(name)
        rows.append((name, *texts, "" if ratio is None else f"{ratio:.3f}"))
    lines = [*aligned(*rows), usage.FILE_BYTES, usage.EXPORTED_BYTES]
    for path, closed in zip(told["files"], told["closed"], strict=True):
        if closed:
            lines.append(
                f"Not looked into, in {path}: {', '.join(closed)}. Residual units in "
                "there are not counted (--expand opens such layers, where it can)."
            )
    if "latency" in told:
        how = told["latency"]
        low, high = how["ratio_p10_p90"]
        lines.append(
            f"Latency: median of a call on {how['runtime']}, batch size "
            f"{how['batch_size']}, {counted(how['threads'], 'thread')}. Both models "
            "were folded and timed in turns; four in five of the ratios lie between "
            f"{low:.3f} and {high:.3f}."
        )
        if how["busy"]:
            lines.append(how["busy"])
        if "data" in told:
            lines.append(
                "Held-out measures and outputs are those of the exported "
                f"{how['runtime']} files that were timed."
            )
    if "data" in told:
        lines.append(f"Data: {told['data']}.")
    if paired := told.get("paired"):
        lines.append(f"B instead of A: {format_paired(paired, paired['examples'])}.")
    lines.append(_difference_told(told["outputs"]))
    return "\n".join([*lines, *dict.fromkeys(told.get("doubts", ()))])


def _size(model, path):
    return {
        "file_bytes": path.stat().st_size,
        "exported_keras_bytes": file_bytes(model, "keras"),
        **measure(model),
    }


def _closed(model):
    """Names of the layers in which units may lie that are not found."""
    return [each.name for each in find_units(model).opaque]


def _outputs(models, files, examples, of_classes, args, known=()):
    """How far outputs differ on examples, or on noise; None if they cannot be.

    Args:
        models: both `keras.Model`s.
        files: what was written of each, whose outputs count; None where nothing was.
        examples: array, or None for noise.
        of_classes: whether the largest output is a decision.
        args: parsed arguments.
        known: the outputs of each file for `examples` and more, if they are known.
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
        except ValueError:  # noise will not do
            return None
    else:
        examples = [examples]
    count = len(examples[0])
    if known:
        values = [[each[:count] for each in arrays] for arrays in known]
    elif files[0] is not None:
        with deployed.on_runtime(args.runtime):
            values = [
                deployed.outputs(file, args.runtime, examples, model, args)
                for file, model in zip(files, models, strict=True)
            ]
    else:
        values = [_predicted(model, examples) for model in models]
    first, other = values
    told = {
        "on": on,
        "of": "Keras models" if files[0] is None else f"{args.runtime} files",
        "count": count,
        "max_abs_difference": max(
            float(np.abs(x - y).max()) for x, y in zip(first, other, strict=True)
        ),
        "max_abs": max(float(np.abs(x).max()) for x in first),
    }
    if of_classes:
        told["agreement"] = float((first[0].argmax(-1) == other[0].argmax(-1)).mean())
    return told


def _predicted(model, examples):
    inputs = keras.tree.pack_sequence_as(model._inputs_struct, examples)
    outputs = keras.tree.flatten(model.predict(inputs, verbose=0))
    return [np.asarray(each, "float32") for each in outputs]


def _difference_told(outputs):
    if outputs is None:
        return "Outputs cannot be compared: inputs or outputs have other shapes."
    text = (
        f"Outputs on {outputs['count']} {outputs['on']}: differ by at most "
        f"{outputs['max_abs_difference']:.3g}, the largest is {outputs['max_abs']:.3g}"
    )
    if "agreement" in outputs:
        text += f"; the same class for {outputs['agreement']:.1%}"
    return f"{text}."


def _told(name, value):
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if name == "latency_ms" else format_value(name, value)
