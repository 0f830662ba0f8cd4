"""The work of `resprune compare`."""

import keras
import numpy as np

from resprune_cli.options import usage
from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet
from resprune_cli.work import data_source, model_file, terms
from resprune_tf import find_units
from resprune_tf.deploy.example_inputs import images_to_compare
from resprune_tf.deploy.fresh_process import RuntimeFailed
from resprune_tf.deploy.runtime_latency import runtime_latencies
from resprune_tf.graph.outputs import decides
from resprune_tf.runs.judging import compare_correct, format_paired, format_value
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
    found = [_size(model, path) for model, path in zip(models, paths, strict=True)]
    if args.runtime != "none":
        try:
            with quiet():
                times = runtime_latencies(
                    models, args.runtime, args.runtime_batch, threads=args.threads
                )
        except (ImportError, ValueError) as error:
            raise WrongUse(
                f"--runtime {args.runtime}: {error} --runtime none times nothing."
            ) from error
        except (RuntimeFailed, RuntimeError) as error:
            raise Failed(f"--runtime {args.runtime}: {error}") from error
        for each, time in zip(found, times, strict=True):
            each["latency_ms"] = time.median_ms
    a, b = found
    ratios = {name: b[name] / a[name] for name in a if a[name] and name in b}
    told = {"files": [str(path) for path in paths], "a": a, "b": b, "ratios": ratios}
    told["closed"] = [_closed(model) for model in models]
    if args.runtime != "none":
        turns = times[1].ratios(times[0])
        low, ratios["latency_ms"], high = map(float, np.percentile(turns, (10, 50, 90)))
        told["latency"] = {
            "runtime": args.runtime,
            "batch_size": args.runtime_batch,
            "threads": args.threads,
            "ratio_p10_p90": [low, high],
        }
    examples, of_classes, correct = None, False, []
    if args.data is not None:
        data = data_source.read(args, models[0])
        examples = data.splits[data.held_out][0][:_COMPARED]
        told["data"], told["doubts"] = data.told, []
        of_classes = not data.labelled or data.of_classes
        for each, model in zip(found, models, strict=True):
            if model.input_shape != models[0].input_shape:
                data = data_source.read(args, model)
            if data.labelled:
                x, y = terms.compile_for_labels(model, data, args)[data.held_out]
                measured = terms.evaluate(model, x, y, args.batch_size)
                for name, value in measured.items():
                    each[f"{data.held_out} {name}"] = value
                correct.append(terms.correct(model, x, y, args.batch_size, measured))
                if doubt := terms.doubt(model, measured):
                    told["doubts"].append(doubt)
        losses = [terms.full_loss_name(model) for model in models if model.compiled]
        if data.labelled and len(set(losses)) > 1:
            told["doubts"].append(f"The losses differ: {' and '.join(losses)}.")
        of_classes = of_classes and all(decides(model) for model in models)
        if data.labelled and None not in correct:
            told["paired"] = {**compare_correct(*correct), "examples": len(x)}
    told["outputs"] = _outputs(models, examples, of_classes)
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
        lines.append(
            f"Latency: median of a call on {how['runtime']}, batch size "
            f"{how['batch_size']}, {how['threads']} thread"
            f"{'s' * (how['threads'] > 1)}; both folded and timed in turns, whose "
            "ratios lie between {:.3f} and {:.3f} for four in five.".format(
                *how["ratio_p10_p90"]
            )
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


def _outputs(models, examples, of_classes):
    """How far outputs differ on examples, or on noise; None if they cannot be."""
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
    values = []
    for model in models:
        inputs = keras.tree.pack_sequence_as(model._inputs_struct, examples)
        outputs = keras.tree.flatten(model.predict(inputs, verbose=0))
        values.append([np.asarray(each, "float32") for each in outputs])
    first, other = values
    told = {
        "on": on,
        "count": len(examples[0]),
        "max_abs_difference": max(
            float(np.abs(x - y).max()) for x, y in zip(first, other, strict=True)
        ),
        "max_abs": max(float(np.abs(x).max()) for x in first),
    }
    if of_classes:
        told["agreement"] = float((first[0].argmax(-1) == other[0].argmax(-1)).mean())
    return told


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
