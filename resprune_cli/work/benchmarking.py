"""The work of `resprune benchmark`."""

import pathlib
import tempfile

import keras
import numpy as np

from resprune_cli.options.usage import WrongUse
from resprune_cli.work import data_source, deployed, model_file, terms
from resprune_tf.deploy.file_outputs import file_inputs
from resprune_tf.deploy.formats import size_of
from resprune_tf.deploy.registry import runtime_of
from resprune_tf.deploy.runtime_latency import runtime_latencies
from resprune_tf.runs.judging import format_value
from resprune_tf.system.progress import shown, tracked
from resprune_tf.system.wording import counted
from resprune_tf.units.table import aligned


def benchmark(args):
    """How long one model takes on a runtime and, with data, what its file measures.

    Args:
        args: parsed arguments.

    Returns:
        dict of JSON values.

    Raises:
        WrongUse: if data do not fit, or the runtime cannot be used here.
        Failed: if the runtime does not take the model.
    """
    written = runtime_of(args.model) is not None
    with tempfile.TemporaryDirectory(prefix="resprune-") as folder:
        if written:
            path, model, data = args.model, None, None
            net = _stand_in(args)
            if args.data is not None:
                data = data_source.read(args, net)
        else:
            net = model = model_file.load(args.model, args, compile=bool(args.data))
            data = None if args.data is None else data_source.read(args, model)
            with deployed.on_runtime(args.runtime):
                place = pathlib.Path(folder) / "file"
                path = deployed.write(model, args.runtime, place, data)
        with deployed.on_runtime(args.runtime):
            times = []
            for _ in tracked(range(args.repeats), f"Timing on {args.runtime}"):
                with shown(None):  # one line is enough
                    times += runtime_latencies(
                        [path],
                        args.runtime,
                        args.runtime_batch,
                        args.runs,
                        threads=args.threads,
                    )
        told = {
            "model": str(args.model),
            "exported_for_this": not written,
            "bytes": size_of(path),
            "latency": {**deployed.latency_told(times), "threads": args.threads},
        }
        if data is not None:
            told.update(_measured(path, net, model, data, args))
    return told


def _stand_in(args):
    """A Keras model of the inputs of a written one, which passes them on."""
    with deployed.on_runtime(args.runtime):
        inputs = file_inputs(args.model, args.runtime)
    tensors = [
        keras.Input(shape[1:], dtype=dtype, name=f"input_{index}")
        for index, (_, shape, dtype) in enumerate(inputs)
    ]
    return keras.Model(tensors, tensors, name=args.model.stem)


def _measured(path, net, model, data, args):
    """What the file measures on held-out examples."""
    x, y = data.splits[data.held_out]
    with deployed.on_runtime(args.runtime):
        (found, *others) = deployed.outputs(path, args.runtime, [x], model, args)
    if others:
        raise WrongUse(
            f"'{args.model}' has {1 + len(others)} outputs; the command line measures "
            "models of one. Leave out --data to measure its latency alone."
        )
    told = {"data": data.told, "split": data.held_out, "examples": len(x)}
    told.update(measures={}, doubt=None, agreement=None)
    if data.labelled:
        like = net
        if model is None:  # nothing is known of its loss: what is asked for, or usual
            answer = keras.Input(found.shape[1:])
            like = keras.Model(answer, answer, name=net.name)
        labels = terms.compile_for_labels(like, data, args)[data.held_out][1]
        measures, _ = deployed.judged(found, labels, like, args)
        if model is None and args.loss is None:
            del measures["loss"]  # whether outputs are logits is not known
        told["measures"] = measures
        told["doubt"] = terms.doubt(like, measures)
    if model is not None and found.ndim == 2 and found.shape[1] > 1:
        expected = model.predict(x, batch_size=args.batch_size, verbose=0)
        told["agreement"] = float(np.mean(found.argmax(-1) == expected.argmax(-1)))
    return told


def table(told):
    """What `benchmark` returned, as lines of text."""
    time = told["latency"]
    medians = time["repeat_medians_ms"]
    rows = [
        ("median", f"{time['median_ms']:.3f} ms"),
        ("10th to 90th percentile", f"{time['p10_ms']:.3f} to {time['p90_ms']:.3f} ms"),
        ("medians of the repeats", f"{min(medians):.3f} to {max(medians):.3f} ms"),
        ("bytes", f"{told['bytes']:,}"),
    ]
    for name, value in told.get("measures", {}).items():
        rows.append((f"{told['split']} {name}", format_value(name, value)))
    if told.get("agreement") is not None:
        rows.append(("same class as in Keras", f"{told['agreement']:.1%}"))
    load = time["machine_load"]
    lines = [
        f"{told['model']} on {time['runtime']}"
        + (", exported for this measurement" * told["exported_for_this"])
        + ":",
        *aligned(*rows),
        f"Latency of a call with {counted(time['batch_size'], 'image')} on "
        f"{counted(time['threads'], 'processor thread')}: "
        f"{counted(len(medians), 'repeat')} of {counted(time['runs'], 'call')}, each "
        "in a process of its own; median and percentiles are of the middle repeat.",
        "How busy the machine was is not known on this system."
        if load is None
        else f"Other processes used {load:.0%} of the processor cores meanwhile.",
    ]
    if time["busy"]:
        lines.append(time["busy"])
    if "data" in told:
        lines += [
            f"Data: {told['data']}.",
            f"Measured on {counted(told['examples'], 'held-out example')}, by the "
            "exported file itself.",
        ]
    return "\n".join([*lines, *filter(None, [told.get("doubt")])])
