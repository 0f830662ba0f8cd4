"""Loads and runs written models on their runtimes, without this package.

This file is also the program of the new process that checks and times written models.
It is run by its path. It imports only NumPy and the requested runtime, because a
machine in production may have nothing else.
"""

import collections
import gc
import json
import os
import pathlib
import sys
import time

import numpy as np

# A loaded model. `inputs`: dict from name to `(shape, dtype)`; sizes that are not fixed
# are None. `run`: function from a dict of input arrays to the list of output arrays, in
# the order in which Keras flattens them. `quantized`: dict from the name of an input or
# the index of an output to `(scale, zero point)`; it stores an integer q for the value
# scale * (q - zero point).
Loaded = collections.namedtuple(
    "Loaded", ("inputs", "run", "quantized"), defaults=({},)
)

# Images per call for the comparison of outputs. Keras keeps the outputs of all layers
# during a call, of ResNet-50 150 MB an image.
BATCH = 8


def take_turns(calls, runs, warmup):
    """Times functions in turns, so that background load affects all of them.

    Args:
        calls: functions without arguments.
        runs: number of runs, each of which calls every function once.
        warmup: calls of each function before the first run.

    Returns:
        float64 array of shape `(runs, number of functions)`, in milliseconds.
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


class BackgroundLoad:
    """Measures the processor time of other processes, from `/proc/stat` of Linux."""

    def __init__(self):
        self._started, self._before = time.monotonic(), self._read()

    def share(self):
        """The fraction of all processor cores in use since the object was created.

        It is None if the system does not report it. The method waits until 0.2 s have
        passed, because the counters have a resolution of 0.01 s.
        """
        time.sleep(max(0.0, self._started + 0.2 - time.monotonic()))
        now = self._read()
        if now is None or self._before is None:
            return None
        total, busy, own = (b - a for a, b in zip(self._before, now, strict=True))
        return float(min(1.0, max(0.0, (busy - own) / total))) if total else None

    @staticmethod
    def _read():
        """Seconds of all cores: in total, while busy, and for this process."""
        try:
            with open("/proc/stat") as file:
                ticks = [int(number) for number in file.readline().split()[1:9]]
            second = os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        idle = sum(ticks[3:5])  # includes the time spent waiting for disks
        own = sum(os.times()[:4])  # includes finished child processes
        return sum(ticks) / second, (sum(ticks) - idle) / second, own


# Measured from the start of the process, because the timing itself may be too short.
_SINCE_START = BackgroundLoad()


def outputs(load, arrays, path, names, counts):
    """The job `"outputs"`: the outputs of a model for several numbers of images.

    Args:
        load: function that loads a model.
        arrays: list of arrays, one per input.
        path: path of the written model.
        names: names of the inputs in the Keras model.
        counts: numbers of images, of which the first ones are used. They run in
            batches of at most `BATCH`.

    Returns:
        dict of float32 arrays: `"<i>_<j>"` is output j for the first `counts[i]`
        images.
    """
    loaded = load(path, None)
    names = _names(loaded, names)
    results = {}
    for number, count in enumerate(counts):
        feed = {name: x[:count] for name, x in zip(names, arrays, strict=True)}
        for index, output in enumerate(in_batches(loaded.run, feed, BATCH)):
            results[f"{number}_{index}"] = output
    return results


def in_batches(run, feed, size):
    """The outputs for all rows of some inputs, of which `size` at a time are run.

    Args:
        run: function from a dict of input arrays to a list of output arrays.
        feed: dict of input arrays `(rows, ...)`.
        size: int.

    Returns:
        List of float32 arrays `(rows, ...)`.
    """
    count = len(next(iter(feed.values())))
    parts = [
        list(map(np.asarray, run({n: x[at : at + size] for n, x in feed.items()})))
        for at in range(0, count, size)
    ]
    return [np.concatenate(part).astype("float32") for part in zip(*parts, strict=True)]


def _names(loaded, names):
    """The input names of a loaded model, in the order of the arrays."""
    if len(loaded.inputs) != len(names):
        sys.exit(
            f"The file has the inputs {list(loaded.inputs)}, but the model has {names}."
        )
    # Some writers rename a single input.
    return list(loaded.inputs) if len(names) == 1 else names


def inputs(load, arrays, path):
    """The job `"inputs"`: the inputs that a model expects.

    Returns:
        `{"names": strings, "dtypes": strings, "shape_<i>": sizes of input i}`; sizes
        that are not fixed are -1.
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
        arrays: list of arrays, one per input, which are cast to the input dtypes, or
            quantized if the file takes integers for real values.
        path: path of the written model.
        names: names of the inputs in the Keras model; None for the order of the file.
        batch_size: images per call, unless the model has a fixed batch size.

    Returns:
        dict of float32 arrays: `"<j>"` is output j.
    """
    loaded = load(path, None)
    names = _names(loaded, list(loaded.inputs) if names is None else names)
    specs = [loaded.inputs[name] for name in names]
    fixed = [shape[0] for shape, _ in specs if shape and shape[0] is not None]
    dtypes = {name: dtype for name, (_, dtype) in zip(names, specs, strict=True)}
    size = (fixed or [batch_size])[0]

    def run(feed):
        count = len(feed[names[0]])
        if fixed and count < size:  # repeat the last row to fill the batch
            feed = {
                name: np.concatenate([x, x[-1:].repeat(size - count, 0)])
                for name, x in feed.items()
            }
        found = loaded.run(
            {
                name: _stored(x, dtypes[name], loaded.quantized.get(name))
                for name, x in feed.items()
            }
        )
        return [
            _values(np.asarray(output)[:count], loaded.quantized.get(index))
            for index, output in enumerate(found)
        ]

    found = in_batches(run, dict(zip(names, arrays, strict=True)), size)
    return {str(index): output for index, output in enumerate(found)}


def _stored(values, dtype, quantization):
    """Values in the form in which a tensor of a file stores them."""
    if quantization is None:
        return values.astype(dtype)
    scale, zero = quantization
    limits = np.iinfo(dtype)
    stored = np.rint(values / scale) + zero
    return np.clip(stored, limits.min, limits.max).astype(dtype)


def _values(stored, quantization):
    """The values that a tensor of a file stores."""
    if quantization is None:
        return stored
    scale, zero = quantization
    return scale * (stored.astype("float32") - zero)


def times(load, arrays, paths, batch_size, runs, warmup, threads):
    """The job `"times"`: times models in turns on random inputs.

    Args:
        load: function that loads a model.
        arrays: not used.
        paths: paths of the written models.
        batch_size: images per call.
        runs, warmup: as for `take_turns`.
        threads: processor threads of the runtime.

    Returns:
        `{"times": array (runs, number of paths) in milliseconds, "load": number}`; the
        load is that of `BackgroundLoad.share`, NaN instead of None.
    """
    rng = np.random.default_rng(0)

    def random_input(path, name, shape, dtype):
        if None in shape[1:]:
            sys.exit(
                f"All sizes of the inputs of '{path}' must be fixed, except the batch "
                f"size. Input '{name}' has the shape {shape}."
            )
        values = rng.random((batch_size, *shape[1:]))
        return values.astype(dtype)  # integers become 0, a valid index

    def call_of(path):
        loaded = load(path, threads)
        feed = {
            name: random_input(path, name, *spec)
            for name, spec in loaded.inputs.items()
        }
        return lambda: loaded.run(feed)

    found = take_turns([call_of(path) for path in paths], runs, warmup)
    return {"times": found, "load": np.array(_SINCE_START.share(), "float64")}


def sort_outputs(names):
    """Sorts output names into the order in which Keras flattens the outputs."""
    numbers = [name.removeprefix("output_") for name in names]
    if all(number.isdecimal() for number in numbers):
        return sorted(names, key=lambda name: int(name.removeprefix("output_")))
    return sorted(names)  # Keras sorts the keys of a dict


def _load_saved_model(path, threads):
    import tensorflow as tf

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    specs = serve.structured_input_signature[1]

    def run(feed):
        results = serve(**{name: tf.constant(x) for name, x in feed.items()})
        return [results[name].numpy() for name in sort_outputs(results)]

    # The function alone does not keep the variables alive.
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
        results = keras.tree.flatten(model(values, training=False))
        return [keras.ops.convert_to_numpy(x) for x in results]

    return Loaded(inputs, run)


def _load_litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    signature = interpreter.get_signature_runner()
    sources = signature.get_input_details()
    targets = signature.get_output_details()
    targets = [targets[name] for name in sort_outputs(targets)]
    current = None  # shapes of the allocated tensors

    def run(feed):
        nonlocal current
        shapes = {name: x.shape for name, x in feed.items()}
        if shapes != current:
            for name, shape in shapes.items():
                interpreter.resize_tensor_input(sources[name]["index"], shape)
            interpreter.allocate_tensors()
            current = shapes
        for name, x in feed.items():
            interpreter.set_tensor(sources[name]["index"], x)
        interpreter.invoke()
        return [interpreter.get_tensor(target["index"]) for target in targets]

    def shape(source):
        return tuple(None if n < 0 else int(n) for n in source["shape_signature"])

    inputs = {name: (shape(x), x["dtype"]) for name, x in sources.items()}
    quantized = {
        key: tensor["quantization"]
        for key, tensor in (*sources.items(), *enumerate(targets))
        # The scale is 0 if the integers are the values, such as indices.
        if np.issubdtype(tensor["dtype"], np.integer) and tensor["quantization"][0]
    }
    return Loaded(inputs, run, quantized)


_ONNX_DTYPES = {"float": "float32", "double": "float64"}


def _load_onnx(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )

    def spec(source):
        dtype = source.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(n if isinstance(n, int) else None for n in source.shape)
        return shape, _ONNX_DTYPES.get(dtype, dtype)

    inputs = {source.name: spec(source) for source in session.get_inputs()}
    return Loaded(inputs, lambda feed: session.run(None, feed))


# For each runtime the function that loads a model, and modules that it must not need.
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
    """Runs the job in `folder` and writes its results there; in the new process."""
    if "resprune_tf" in sys.modules:
        sys.exit("resprune_tf must not be imported before the check.")
    folder = pathlib.Path(folder)
    job = json.loads((folder / "job.json").read_text())
    load, forbidden = RUNTIMES[job.pop("runtime")]
    for module in ("resprune_tf", *forbidden):
        sys.modules[module] = None  # importing it now raises an error
    do = JOBS[job.pop("name")]
    arrays = []
    if (folder / "arrays.npz").exists():
        with np.load(folder / "arrays.npz") as file:
            arrays = [file[f"arr_{index}"] for index in range(len(file.files))]
    np.savez(folder / "results.npz", **do(load, arrays, **job))


if __name__ == "__main__":
    main(sys.argv[1])
    # At the exit, garbage collection would look for seconds through the million objects
    # that importing TensorFlow creates.
    gc.freeze()
