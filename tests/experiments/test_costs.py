"""Measured costs: the right nets, what is written, and what a second call does."""

import itertools
import json

import pytest

from experiments import costs
from experiments.pages.results import RECORDS, machine_name
from experiments.paper import cost_records, published
from experiments.paper.cost_records import PAPER, Measure, PrunedModel
from resprune_tf import Architecture, build_resnet, cost, find_units
from tests.made.costs import made_pair
from tests.made.runs import make_final, make_rounds, write_records

pytestmark = pytest.mark.slow

TINY = {"width": 2, "num_classes": 3, "image_shape": (8, 8, 3)}


@pytest.fixture(scope="module")
def savings():
    """For each data set, the cost of its original net and of a unit in each stage."""
    found = {}
    for dataset in published.INITIAL_UNITS:
        net = build_resnet(costs.initial_architecture(dataset))
        units = {
            unit.name.partition("_")[0]: (unit.parameters, unit.macs)
            for unit in find_units(net)
            if unit.removable
        }
        found[dataset] = cost(net), list(units.values())
    return found


def shares(savings, net):
    """Parameters and MACs of a net in %, from those of its units."""
    full, units = savings[net.dataset]
    initial = published.INITIAL_UNITS[net.dataset]
    gone = [before - after for before, after in zip(initial, net.units, strict=True)]
    lost = [
        sum(count * unit[i] for count, unit in zip(gone, units, strict=True))
        for i in (0, 1)
    ]
    return 100 - 100 * lost[0] / full.parameters, 100 - 100 * lost[1] / full.macs


def nets_of(dataset, layers=None):
    """All nets of a data set's lattice, or those with so many layers."""
    initial = published.INITIAL_UNITS[dataset]
    return [
        PrunedModel(dataset, units)
        for units in itertools.product(*(range(1, n + 1) for n in initial))
        if layers in (None, 3 * sum(units) + 2)
    ]


@pytest.mark.parametrize("net", PAPER, ids=lambda net: net.title)
def test_nets_of_the_paper(savings, net):
    initial = costs.initial_architecture(net.dataset)
    full, _ = savings[net.dataset]
    assert (full.layers, full.parameters) == cost_records._INITIAL[net.dataset]
    small = cost(build_resnet(costs.with_units(initial, net.units)))
    assert small.layers == published.SMALLEST_LAYERS[net.dataset]
    found = 100 * small.parameters / full.parameters, 100 * small.macs / full.macs
    assert found == pytest.approx(shares(savings, net))
    golden = {"cifar10": (69.29, 57.59), "cifar100": (90.50, 62.90)}
    assert found == pytest.approx(golden.get(net.dataset, (93.16, 78.64)), abs=0.005)


@pytest.mark.parametrize("dataset", ["cifar100", "imagenet2012"])
def test_one_net_fits_the_printed_costs(savings, dataset):
    printed = [published.COSTS[dataset][key] for key in ("parameters", "macs")]
    fitting = [
        net
        for net in nets_of(dataset)
        if shares(savings, net) == pytest.approx(printed, abs=0.055)
    ]
    assert fitting == [PrunedModel(dataset, published.SMALLEST_UNITS[dataset])]


def test_no_net_fits_the_printed_costs_of_cifar10(savings):
    parameters, macs = (
        published.COSTS["cifar10"][key] for key in ("parameters", "macs")
    )
    found = {net: shares(savings, net) for net in nets_of("cifar10")}
    assert min(abs(value - parameters) for value, _ in found.values()) > 0.05
    by_layers = [
        {round(found[net][1], 6) for net in nets_of("cifar10", layers)}
        for layers in (32, 35)
    ]
    (less,), (more,) = by_layers
    assert less < macs - 2 and more > macs + 1
    nearest = min(
        nets_of("cifar10", 32), key=lambda net: abs(found[net][0] - parameters)
    )
    assert nearest.units == published.SMALLEST_UNITS["cifar10"]


def test_the_last_units_of_a_stage_are_left_out():
    short = costs.with_units(Architecture.cifar(29, **TINY), (1, 2, 3))
    assert short.kept == ((1,), (1, 2), (1, 2, 3))


def test_a_pair_is_counted_and_timed():
    full = Architecture.cifar(14, "basic", **TINY).without(["stage3_unit2"])
    short = costs.with_units(full, (1, 1, 1))
    measures = [Measure(1, folded=True), Measure(2, backward=True)]
    told = []
    found = costs.measure_pair(full, short, measures, 3, lambda *a: told.append(a))
    json.dumps(found)
    for name, net in (("original", full), ("shortened", short)):
        model = build_resnet(net, mean=(1,) * 3, std=(1,) * 3)
        plain, folded = (found["counts"][name][kind] for kind in ("unfolded", "folded"))
        assert plain["parameters"] == cost(model).parameters
        assert plain["weights"] == model.count_params() > folded["weights"]
        assert plain["macs"] == folded["macs"] == cost(model).macs
        assert plain["layers"] == net.depth
    assert list(found["times"]) == [
        "forward, folded, batch 1",
        "forward + backward, batch 2",
    ]
    assert told == list(zip(measures, found["times"].values(), strict=True))
    for times in found["times"].values():
        assert times["runs"] == 3 and times["precision"] == "float32"
        assert times["elsewhere"] is None or 0 <= times["elsewhere"] <= 1
        assert 0 < times["ratio"]["p10"] <= times["ratio"]["median"]
        assert 0 < times["shortened"]["p10_ms"] <= times["shortened"]["median_ms"]


def own_run(records, name, parameters=590_426, dataset="cifar10"):
    """A run that lost two units of a net of 29 layers, said to be the paper's."""
    rounds = make_rounds(0.9, 0.91, 0.92)
    rounds[0] |= {"layers": 56, "parameters": parameters}
    write_records(
        records / "cifar10" / name,
        rounds,
        make_final(rounds, 2),
        run={"dataset": {"name": dataset, "train": 10, "test": 200}},
    )


def test_own_nets_start_from_that_of_the_paper(tmp_path):
    own_run(tmp_path, "c10-main-seed0")
    own_run(tmp_path, "c10-main-seed1", parameters=100_000)
    own_run(tmp_path, "c10-main-seed2", dataset="digits")
    own_run(tmp_path, "narrow-seed0")
    found = cost_records.own_models(tmp_path)
    assert [(name, net) for name, (_, net) in found.items()] == [
        ("cifar10/c10-main-seed0", PrunedModel("cifar10", (2, 3, 2)))
    ]
    assert cost_records.all_models(tmp_path) == [
        *PAPER,
        PrunedModel("cifar10", (2, 3, 2)),
    ]


@pytest.fixture
def measured(monkeypatch):
    """Measuring that takes no time; the list of what was measured."""
    calls = []

    def measure_pair(original, shortened, measures, runs, done):
        units = tuple(map(len, shortened.kept))
        calls.append(units)
        net = PrunedModel(
            next(d for d, u in published.SMALLEST_UNITS.items() if u == units), units
        )
        pair = made_pair(net, short_ms=float(runs))
        for measure in measures:
            done(measure, pair["times"][measure.title])
        return {key: pair[key] for key in ("counts", "times")}

    monkeypatch.setattr(costs, "measure_pair", measure_pair)
    return calls


def test_what_is_on_record_is_not_measured_again(tmp_path, measured, capsys):
    costs.main(["--runs=7"], tmp_path)
    assert measured == [net.units for net in PAPER]
    printed = capsys.readouterr().out
    assert "CIFAR-10 1/5/4, forward, batch 1: 10.0 -> 7.0 ms, 70.0 %" in printed
    assert printed.count("1 of ") >= 1
    (path,) = (tmp_path / "costs").iterdir()
    pair = json.loads(path.read_text())["pairs"][0]
    assert path.stem == machine_name(pair["environment"])
    assert pair["command"].endswith("python -m experiments.costs --runs=7")
    costs.main([], tmp_path)
    assert len(measured) == 3
    assert "is complete; --again measures again" in capsys.readouterr().out
    costs.main(["--again"], tmp_path)
    assert len(measured) == 6
    machine = cost_records.read_machines(tmp_path)[0]
    times = machine.times(PAPER[2], cost_records.TEST)
    assert times["shortened"]["median_ms"] == 100


def test_a_stopped_measurement_keeps_the_pairs_it_finished(
    tmp_path, measured, monkeypatch
):
    finished = costs.measure_pair

    def stop_at_the_third(*arguments):
        if len(measured) == 2:
            raise KeyboardInterrupt
        return finished(*arguments)

    out = tmp_path / "mine.json"
    with monkeypatch.context() as patch:
        patch.setattr(costs, "measure_pair", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            costs.main([f"--out={out}"], tmp_path)
    assert len(json.loads(out.read_text())["pairs"]) == 2
    costs.main([f"--out={out}"], tmp_path)
    assert measured == [net.units for net in PAPER]
    assert len(json.loads(out.read_text())["pairs"]) == 3


def test_machine_names():
    facts = {"cpu": "AMD EPYC (R)", "cores": 2, "devices": "1 cpu", "backend": "jax"}
    assert machine_name(facts) == "amd-epyc-r-2-cores-jax"
    facts["devices"] = "1 NVIDIA H200"
    assert machine_name(facts) == "amd-epyc-r-2-cores-1-nvidia-h200-jax"


def test_senseless_arguments(tmp_path):
    with pytest.raises(SystemExit, match="--runs must be >= 1. Received: 0"):
        costs.main(["--runs=0"])
    other = tmp_path / "other.json"
    other.write_text('{"rounds": []}')
    with pytest.raises(SystemExit, match="'.*other.json' is not a record of costs"):
        costs.main([f"--out={other}"])


def test_committed_records_count_alike():
    machines = cost_records.read_machines(RECORDS)
    for net in cost_records.all_models(RECORDS):
        found = [m.pairs[net]["counts"] for m in machines if net in m.pairs]
        assert all(counts == found[0] for counts in found)
