"""Beside: what is deployed, next to what would have been."""

import pytest
from keras import layers

import resprune_tf.deploy.pair as beside
from resprune_tf import cost
from resprune_tf.deploy.export import Exported
from resprune_tf.deploy.latency import Latency
from resprune_tf.deploy.pair import export_pair
from resprune_tf.system.wording import busy_note
from tests.conftest import net_of, shallow_net

pytestmark = pytest.mark.slow


def test_both_are_exported_and_timed(tmp_path):
    model, unpruned = (
        net_of((4,), layers.Dense(n), layers.ReLU(), layers.Dense(3)) for n in (8, 64)
    )
    found = export_pair(model, unpruned, tmp_path, "litert", batch_sizes=(2,), runs=3)
    (litert,) = found.formats
    assert litert.model.path == tmp_path / "model.tflite"
    assert litert.unpruned.path == tmp_path / "unpruned" / "model.tflite"
    assert 0 < litert.bytes_ratio < 1
    ours, theirs = litert.latencies[2]
    assert ours.runtime == "litert" and ours.batch_size == 2 and ours.runs == 3
    assert litert.latency_ratio(2) > 0 and len(theirs.times_ms) == 3
    assert found.macs_ratio == cost(model).macs / cost(unpruned).macs < 1


def test_the_table(monkeypatch, tmp_path):
    """Every number is of known sizes and times."""

    def export(net, folder, formats, **options):
        size = 3000 if net is model else 4000
        return tuple(Exported(name, folder / name, size, 0.0) for name in formats)

    load = 0.5

    def runtime_latencies(paths, runtime, batch_size, runs, threads):
        fields = dict.fromkeys(
            ("batch_size", "backward", "precision", "device", "backend", "runtime")
        )
        return tuple(
            Latency.of([t * batch_size], **fields, load=load) for t in (1.0, 2.0)
        )

    monkeypatch.setattr(beside, "export", export)
    monkeypatch.setattr(beside, "runtime_latencies", runtime_latencies)
    model, unpruned = shallow_net(width=2), shallow_net()
    found = export_pair(model, unpruned, tmp_path, ("keras", "litert"))
    macs = cost(model).macs, cost(unpruned).macs
    *lines, busy = str(found).splitlines()
    assert busy == busy_note(load)
    assert lines == [
        "format  kB  unpruned  ratio  ms, batch 1  unpruned  ratio  ms, batch 32  "
        "unpruned  ratio",
        "keras    3         4  0.750            -         -      -             -  "
        "       -      -",
        "litert   3         4  0.750        1.000     2.000  0.500        32.000  "
        "  64.000  0.500",
        f"MACs: {macs[0]:,} of {macs[1]:,}, ratio {macs[0] / macs[1]:.3f}. Both models "
        "are folded. Times are medians on the processor with 1 thread, in alternating "
        "calls.",
    ]


def test_refuses_before_any_work(tmp_path):
    net = shallow_net()
    with pytest.raises(ValueError, match="`formats` must be one"):
        export_pair(net, net, tmp_path / "new", "h5")
    with pytest.raises(TypeError, match="cost"):
        export_pair(net, None, tmp_path / "new")
    with pytest.raises(ValueError, match="`runs` must be an integer >= 1"):
        export_pair(net, net, tmp_path / "new", runs=0)
    with pytest.raises(ValueError, match="`batch_sizes` must be an integer >= 1"):
        export_pair(net, net, tmp_path / "new", batch_sizes=(1, 0))
    assert not (tmp_path / "new").exists()
