"""Runtimes: how a written model is loaded and run where this package is not.

This file is also the program of the fresh process in which artefacts are checked and
timed. It runs there by its path, so it imports nothing but NumPy and the runtime asked
for, which may be all that a machine in production has.
"""

import collections
import json
import os
import pathlib
import sys
import time

import numpy as np

# A model that is loaded. `inputs`: dict from a name to `(shape, dtype)`, None for a
# dimension that is open. `run`: function from a dict of arrays, by input, to the list
# of output arrays, in the order in which Keras flattens them.
Loaded = collections.namedtuple("Loaded", ("inputs", "run"))


def take_turns(calls, runs, warmup):
    """Times functions in turns: a machine that slows down slows all of them.

    Args:
        calls: functions without arguments. Each is called `warmup` times at first.
        runs: turns; in each of them every function is called once.
        warmup: calls before the first turn.

    Returns:
        Milliseconds: a float64 array `[runs, number of functions]`.
    """
    for call in calls:
        for _ in range(warmup):
            call()
    times = np.empty((runs, len(calls)))
    for turn in times:
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            turn[index] = 1000 * (time.perf_counter() - start)
    return times


class OtherWork:
    """The processor time that other processes use while this one works.

    Linux alone states what is needed, in `/proc/stat`.
    """

    def __init__(self):
        self._begun, self._before = time.monotonic(), self._read()

    def share(self):
        """Share of all processor cores since the object was made, from 0 to 1.

        None where the system does not state it. Waits until 0.2 s have passed, for
        the counters have steps of 0.01 s.
        """
        time.sleep(max(0.0, self._begun + 0.2 - time.monotonic()))
        now = self._read()
        if now is None or self._before is None:
            return None
        whole, busy, own = (b - a for a, b in zip(self._before, now, strict=True))
        return float(min(1.0, max(0.0, (busy - own) / whole))) if whole else None

    @staticmethod
    def _read():
        """Seconds of all cores, of those the busy ones, and of this process."""
        try:
            with open("/proc/stat") as file:
                ticks = [int(number) for number in file.readline().split()[1:9]]
            second = os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        idle = sum(ticks[3:5])  # waiting for a disk is no work
        own = sum(os.times()[:4])  # with the processes that it has waited for
        return sum(ticks) / second, (sum(ticks) - idle) / second, own


# Of a fresh process: loading a runtime takes the time that timing alone may not.
_SINCE_START = OtherWork()


def outputs(load, arrays, path, names, counts):
    """The job `"outputs"`: the outputs of a model for the first images.

    Args:
        load: function that loads a model.
        arrays: the inputs, one array each.
        path: the artefact.
        names: of the inputs, as in the Keras model.
        counts: sizes of the batches to try.

    Returns:
        dict of float32 arrays: `"<i>_<j>"` is output j for the first `counts[i]`
        images.
    """
    loaded = load(path, None)
    names = _names(loaded, names)
    made = {}
    for batch, count in enumerate(counts):
        feed = {name: x[:count] for name, x in zip(names, arrays, strict=True)}
        for index, output in enumerate(loaded.run(feed)):
            made[f"{batch}_{index}"] = np.asarray(output).astype("float32")
    return made


def _names(loaded, names):
    """Names by which a loaded model is fed, in the order of the arrays."""
    if len(loaded.inputs) != len(names):
        sys.exit(f"It has the inputs {list(loaded.inputs)}, the model {names}.")
    # Some writers rename inputs.
    return list(loaded.inputs) if len(names) == 1 else names


def inputs(load, arrays, path):
    """The job `"inputs"`: what a model takes.

    Returns:
        `{"names": strings, "dtypes": strings, "shape_<i>": sizes of input i}`, -1 for
        an open size.
    """
    specs = load(path, None).inputs
    return {
        "names": np.array(list(specs)),
        "dtypes": np.array([np.dtype(dtype).name for _, dtype in specs.values()]),
        **{
            f"shape_{index}": np.array([-1 if n is None else n for n in shape], int)
            for index, (shape, _) in enumerate(specs.values())
        },
    }


def predictions(load, arrays, path, names, batch_size):
    """The job `"predictions"`: the outputs of a model for all images, in batches.

    Args:
        load: function that loads a model.
        arrays: the inputs, one array each; they are cast to what the model takes.
        path: the artefact.
        names: of the inputs, as in the Keras model; None for the artefact's own.
        batch_size: images per call, unless the artefact takes a fixed number.

    Returns:
        dict of float32 arrays: `"<j>"` is output j.
    """
    loaded = load(path, None)
    names = _names(loaded, list(loaded.inputs) if names is None else names)
    specs = [loaded.inputs[name] for name in names]
    fixed = [shape[0] for shape, _ in specs if shape and shape[0] is not None]
    size, count, made = (fixed or [batch_size])[0], len(arrays[0]), []
    for start in range(0, count, size):
        feed = {}
        for name, (_, dtype), x in zip(names, specs, arrays, strict=True):
            rows = x[start : start + size]
            if fixed and len(rows) < size:  # what the last call lacks is repeated
                rows = np.concatenate([rows, rows[-1:].repeat(size - len(rows), 0)])
            feed[name] = rows.astype(dtype)
        made.append([np.asarray(y)[: count - start] for y in loaded.run(feed)])
    return {
        str(index): np.concatenate(parts).astype("float32")
        for index, parts in enumerate(zip(*made, strict=True))
    }


def times(load, arrays, paths, batch_size, runs, warmup, threads):
    """The job `"times"`: milliseconds of calls on random inputs, in turns.

    Args:
        load: function that loads a model.
        arrays: nothing.
        paths: the artefacts.
        batch_size, runs, warmup: images a call, turns, calls before them.
        threads: processor threads of the runtime.

    Returns:
        `{"times": array [runs, number of paths], "load": number}`; the load is as
        `OtherWork.share` says, NaN for None.
    """
    rng = np.random.default_rng(0)

    def random_input(path, name, shape, dtype):
        if None in shape[1:]:
            sys.exit(f"'{path}' has an input of open shape, '{name}': {shape}.")
        values = rng.random((batch_size, *shape[1:]))
        return values.astype(dtype)  # integers become 0, which every vocabulary has

    def call_of(path):
        loaded = load(path, threads)
        feed = {
            name: random_input(path, name, *spec)
            for name, spec in loaded.inputs.items()
        }
        return lambda: loaded.run(feed)

    found = take_turns([call_of(path) for path in paths], runs, warmup)
    return {"times": found, "load": np.array(_SINCE_START.share(), "float64")}


def in_order(names):
    """Names of outputs in the order in which Keras flattens the outputs."""
    numbers = [name.removeprefix("output_") for name in names]
    if all(number.isdecimal() for number in numbers):
        return sorted(names, key=lambda name: int(name.removeprefix("output_")))
    return sorted(names)  # those of a dict


def _load_saved_model(path, threads):
    import tensorflow as tf

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    specs = serve.structured_input_signature[1]

    def run(feed):
        found = serve(**{name: tf.constant(x) for name, x in feed.items()})
        return [found[name].numpy() for name in in_order(found)]

    # Held, for the function alone does not keep the variables.
    run.model = model
    inputs = {
        name: (tuple(spec.shape), spec.dtype.as_numpy_dtype)
        for name, spec in specs.items()
    }
    return Loaded(inputs, run)


def _load_keras(path, threads):
    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    inputs = {x.name: (tuple(x.shape), x.dtype) for x in model.inputs}

    def run(feed):
        values = [feed[name] for name in inputs]
        values = keras.tree.pack_sequence_as(model._inputs_struct, values)
        found = keras.tree.flatten(model(values, training=False))
        return [keras.ops.convert_to_numpy(x) for x in found]

    return Loaded(inputs, run)


def _load_litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    signature = interpreter.get_signature_runner()
    entrances = signature.get_input_details()
    exits = signature.get_output_details()
    exits = [exits[name]["index"] for name in in_order(exits)]
    fed = None  # shapes that the tensors have now

    def run(feed):
        nonlocal fed
        shapes = {name: x.shape for name, x in feed.items()}
        if shapes != fed:
            for name, shape in shapes.items():
                interpreter.resize_tensor_input(entrances[name]["index"], shape)
            interpreter.allocate_tensors()
            fed = shapes
        for name, x in feed.items():
            interpreter.set_tensor(entrances[name]["index"], x)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    def shape(entrance):
        return tuple(None if n < 0 else int(n) for n in entrance["shape_signature"])

    inputs = {name: (shape(x), x["dtype"]) for name, x in entrances.items()}
    return Loaded(inputs, run)


_ONNX_DTYPES = {"float": "float32", "double": "float64"}


def _load_onnx(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )

    def spec(entrance):
        dtype = entrance.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(n if isinstance(n, int) else None for n in entrance.shape)
        return shape, _ONNX_DTYPES.get(dtype, dtype)

    inputs = {entrance.name: spec(entrance) for entrance in session.get_inputs()}
    return Loaded(inputs, lambda feed: session.run(None, feed))


# Each runtime: how it loads a model, and what must not be needed for that.
RUNTIMES = {
    "tensorflow": (_load_saved_model, ("keras",)),
    "keras": (_load_keras, ()),
    "litert": (_load_litert, ("tensorflow", "keras", "jax")),
    "onnxruntime": (_load_onnx, ("tensorflow", "keras", "jax")),
}


JOBS = {
    "inputs": inputs,
    "outputs": outputs,
    "predictions": predictions,
    "times": times,
}


def main(folder):
    """The fresh process: does the job in `folder` and leaves there what it made."""
    if "resprune_tf" in sys.modules:
        sys.exit("resprune_tf was imported before the check began")
    folder = pathlib.Path(folder)
    job = json.loads((folder / "job.json").read_text())
    load, forbidden = RUNTIMES[job.pop("runtime")]
    for module in ("resprune_tf", *forbidden):
        sys.modules[module] = None  # importing it fails from here on
    do = JOBS[job.pop("name")]
    arrays = []
    if (folder / "arrays.npz").exists():
        with np.load(folder / "arrays.npz") as file:
            arrays = [file[f"arr_{index}"] for index in range(len(file.files))]
    np.savez(folder / "made.npz", **do(load, arrays, **job))


if __name__ == "__main__":
    main(sys.argv[1])
