"""Latencies that a function of the net tells, instead of a clock."""

import resprune_tf.targets.measures
from resprune_tf.deploy.latency import Latency


def fake_latencies(monkeypatch, milliseconds, load=None):
    """Has nets timed by `milliseconds(net)`, on a machine that slows down.

    Other processes use the share `load` of it.

    Returns:
        A list that will tell of every call: runtime, number of nets, batch size,
        threads.
    """
    calls = []

    def runtime_latencies(models, runtime, batch_size=1, threads=1):
        calls.append((runtime, len(models), batch_size, threads))
        times = [milliseconds(model) for model in models]
        return tuple(
            Latency.of(
                [time * slower for slower in (0.5, 1.0, 3.0)],
                batch_size=batch_size,
                backward=False,
                precision="float32",
                device="cpu",
                backend="tensorflow",
                runtime=runtime,
                load=load,
            )
            for time in times
        )

    monkeypatch.setattr(
        resprune_tf.targets.measures, "runtime_latencies", runtime_latencies
    )
    return calls
