"""Targets that are measured, and units that are given, in the rounds of a run."""

import dataclasses
import pathlib
import types

import pytest

import resprune_tf as rp
from resprune_tf.pruning.plan import Plan
from resprune_tf.pruning.preflight import check_run
from resprune_tf.system.whole_files import RunDirectoryError, read_json, read_lines
from tests.made.fits import dense_net, numbers, own, regression_data, shorten
from tests.made.latency import fake_latencies

pytestmark = pytest.mark.slow

LATENCY = rp.Target(latency_ms=6, latency_ratio=0.7, runtime="litert", batch_size=8)


def run_to(target, folder, **settings):
    settings = {"tolerance": 9.0, "run_dir": folder, **settings}
    recipe = rp.FitRecipe(epochs=1)
    net, data = own(dense_net(units=4)), regression_data(batch_size=48)
    return shorten(net, data, recipe, target=target, **settings)


def test_a_latency_is_measured_in_every_round(tmp_path, monkeypatch):
    """A unit takes 2 ms of 10; the second process runs on a machine half as fast."""
    calls = fake_latencies(monkeypatch, lambda net: 2 + 2 * len(rp.find_units(net)))
    result = run_to(LATENCY, tmp_path, max_rounds=1)
    first, second = result.rounds
    assert first.measured == {"latency_ms": 10, "latency_ratio": 1}
    assert second.measured == pytest.approx({"latency_ms": 8, "latency_ratio": 0.8})
    lines = str(result).replace(" *", "").splitlines()
    head, *rows = (line.split() for line in lines[:3])
    place = head.index("latency_ms")
    assert [row[place : place + 2] for row in rows] == [
        ["10", "100.0%"],
        ["8", "80.0%"],
    ]
    assert calls == [
        ("litert", 2, 8, 1),  # what the target lies between
        ("litert", 1, 8, 1),
        ("litert", 2, 8, 1),  # in turns with the initial net
    ]
    settings = read_json(tmp_path / "run.json")
    assert "units" not in settings
    assert settings["target"] == {
        "latency_ms": 6,
        "latency_ratio": 0.7,
        "runtime": "litert",
        "batch_size": 8,
        "threads": 1,
    }
    (tmp_path / "again").mkdir()
    for name in ("run.json", "rounds.jsonl"):
        text = (
            (tmp_path / name).read_text().replace('"max_rounds": 1', '"max_rounds": 3')
        )
        (tmp_path / "again" / name).write_text(text)
    (tmp_path / "models").rename(tmp_path / "again" / "models")
    fake_latencies(monkeypatch, lambda net: 1 + len(rp.find_units(net)))
    with pytest.raises(RunDirectoryError, match="target.latency_ms: 6 there, 5 now"):
        other = rp.Target(
            latency_ms=5, latency_ratio=0.7, runtime="litert", batch_size=8
        )
        run_to(other, tmp_path / "again", max_rounds=3)
    result = run_to(LATENCY, tmp_path / "again", max_rounds=3)
    assert [record.measured["latency_ms"] for record in result.rounds] == (
        pytest.approx([10, 8, 6])
    )
    assert result.final["stop_reason"].startswith("target reached: at most 6 ms on lit")
    # A machine on which no model takes 6 ms still returns the finished run.
    fake_latencies(monkeypatch, lambda net: 100 + len(rp.find_units(net)))
    again = run_to(LATENCY, tmp_path / "again", max_rounds=3)
    assert again.rounds == result.rounds


def test_a_latency_of_another_device_limits_a_run(tmp_path):
    """Its function decides before training, and in every round; a run names it."""
    timed, lost_after = [], 999

    def on_phone(path):
        if len(timed) == lost_after:
            raise OSError("no device")
        assert pathlib.Path(path).name == "model.tflite"
        timed.append(pathlib.Path(path).stat().st_size / 1000)
        return timed[-1]

    target = rp.Target(latency_ratio=0.65, runtime="litert", latency_fn=on_phone)
    met = dataclasses.replace(target, latency_ms=1e6, latency_ratio=None)
    with pytest.raises(rp.TargetMet, match="ms on litert, measured by on_phone"):
        run_to(met, None)
    assert len(timed) == 6
    timed.clear()
    lost_after = 6 + 3 + 6  # both ends, round 0, round 1
    with pytest.raises(OSError, match="no device"):
        run_to(target, tmp_path)
    assert len(read_lines(tmp_path / "rounds.jsonl")) == 2
    first, *_, full, small = timed[6:]
    timed.clear()
    lost_after = 6  # of round 2: what was measured is kept
    result = run_to(target, tmp_path)
    assert len(result.rounds) == 3 and len(timed) == 6
    ratios = [1.0, small / full, timed[-1] / timed[-2]]
    assert ratios[1] > 0.65 >= ratios[2]
    for record, ratio in zip(result.rounds, ratios, strict=True):
        assert record.measured["latency_ratio"] == ratio
        assert record.measured["latency_ms"] == first * ratio
    assert read_json(tmp_path / "run.json")["target"] == {
        "latency_ratio": 0.65,
        "runtime": "litert",
        "latency_fn": "on_phone",
    }
    again = run_to(target, tmp_path)  # finished: no device is needed
    assert again.rounds == result.rounds and len(timed) == 6
    here = dataclasses.replace(target, latency_fn=None)
    with pytest.raises(RunDirectoryError, match="target.latency_fn"):
        run_to(here, tmp_path)


def test_a_round_that_was_stopped_is_not_timed_again(tmp_path):
    timed = []

    def on_phone(path):
        timed.append(path)
        return pathlib.Path(path).stat().st_size / 1000

    target = rp.Target(latency_ratio=0.5, runtime="litert", latency_fn=on_phone)

    def should_stop():  # between two epochs of round 1
        saved = (tmp_path / "state.npz").exists()
        return "a test" if len(timed) == 15 and saved else None

    def run(**settings):
        net, data = own(dense_net(units=4)), regression_data(batch_size=48)
        settings = {"target": target, "max_rounds": 1, "tolerance": 9.0, **settings}
        return shorten(net, data, rp.FitRecipe(epochs=2), run_dir=tmp_path, **settings)

    with pytest.raises(rp.RunInterrupted, match="a test"):
        run(should_stop=should_stop)
    assert len(read_lines(tmp_path / "rounds.jsonl")) == 1
    result = run()
    assert len(timed) == 15
    assert 0.8 < result.rounds[1].measured["latency_ratio"] < 0.9


def test_a_run_that_was_stopped_in_round_0_is_not_checked_again(tmp_path, monkeypatch):
    """By other timings its target might be met already."""
    target = rp.Target(latency_ms=9, runtime="litert")

    def run(**settings):
        net, data = own(dense_net(units=4)), regression_data(batch_size=48)
        settings = {"target": target, "max_rounds": 1, "tolerance": 9.0, **settings}
        return shorten(net, data, rp.FitRecipe(epochs=2), run_dir=tmp_path, **settings)

    fake_latencies(monkeypatch, lambda net: 2 + 2 * len(rp.find_units(net)))
    with pytest.raises(rp.RunInterrupted, match="a test"):
        run(should_stop=lambda: (tmp_path / "state.npz").exists() and "a test")
    assert not (tmp_path / "rounds.jsonl").exists()
    calls = fake_latencies(monkeypatch, lambda net: 1 + len(rp.find_units(net)))
    result = run()
    assert [record.measured["latency_ms"] for record in result.rounds] == [10, 8]
    assert len(calls) == 1  # of round 1


def test_several_workers_do_not_share_a_device():
    target = rp.Target(latency_ratio=0.5, runtime="litert", latency_fn=float)
    with pytest.raises(ValueError, match="`latency_fn=float` would be called .* 2 wor"):
        check_run(
            *(dense_net(), None, None, None),
            rp.Removal(target=target),
            types.SimpleNamespace(workers=2),
        )


def test_the_rounds_that_follow_are_estimated_from_those_before():
    """Where the smallest model was not timed: in a run that continues."""
    plan = Plan.check(
        dense_net(units=8, importance=False),
        rp.Removal(
            target=rp.Target(latency_ms=5, runtime="litert"),
            criterion=rp.criteria.random(0),
            monitor="mae",
        ),
        initial_ms=10.0,
    )
    size = {**plan.initial, "units": 6, "latency_ms": 8.0, "latency_ratio": 0.8}
    assert plan.later_rounds(2, size) == 3  # a unit takes 1 ms
    for ratio in (0.999, 1.0, 1.001):  # noise: no more than the units that are left
        noisy = {"units": 7, "latency_ms": 10 * ratio, "latency_ratio": ratio}
        assert plan.later_rounds(1, {**size, **noisy}) == 7


def test_a_file_is_measured_in_every_round(tmp_path):
    target = rp.Target(file_ratio=0.8, file_format="keras")
    result = run_to(target, tmp_path, units_per_round=3)
    first, second = (record.measured for record in result.rounds)
    assert first["file_ratio"] == 1 and second["file_ratio"] <= 0.8
    assert second["file_bytes"] == second["file_ratio"] * first["file_bytes"]


def test_exactly_the_units_of_a_solution_go(tmp_path):
    """The criterion, the smallest |ω|, tells their order; it would begin with unit1."""
    solution = rp.solve_target(
        dense_net(units=4),
        rp.Target(units=2),
        {"unit1": 9.0, "unit2": 3.0, "unit3": 1.0, "unit4": 2.0},
    )
    result = run_to(None, tmp_path, units=solution.units)
    assert [record.removed for record in result.rounds] == [(), ("unit3",), ("unit4",)]
    assert set(result.rounds[0].scores) == {"unit3", "unit4"}
    assert result.final["stop_reason"] == "target reached: at most 2 units"
    settings = read_json(tmp_path / "run.json")
    assert (settings["units"], settings["target"]) == (["unit3", "unit4"], {"units": 2})
    assert "measured" not in read_lines(tmp_path / "rounds.jsonl")[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": ["unit9"]}, "has no unit 'unit9'. Removable units: unit1, unit2"),
        ({"units": []}, "No unit was named. Removable units: unit1"),
        (
            {"units": ["unit1"], "protected": ["unit1"]},
            "'unit1' of `units` cannot be removed: it is protected. .*units: unit2,",
        ),
        (
            {"target": rp.Target(units=2), "units": ["unit1"]},
            "2 units cannot be reached: .* leaves 3 units",
        ),
        (
            {"target": rp.Target(units=2), "protected": ["unit1", "unit2", "unit3"]},
            r"leaves 3 units.*Units that cannot be removed: unit1 \(it is protected",
        ),
    ],
)
def test_what_may_not_go_is_refused_before_any_work(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        run_to(settings.pop("target", None), tmp_path / "never", **settings)
    assert not (tmp_path / "never").exists()


def test_an_initial_training_taken_over_is_measured(tmp_path, monkeypatch):
    run_to(None, tmp_path / "first", max_rounds=0)
    fake_latencies(monkeypatch, lambda net: 2 + 2 * len(rp.find_units(net)))
    start = {"start_from": tmp_path / "first", "units_per_round": 2}
    result = run_to(LATENCY, tmp_path / "second", **start)
    measured = [record.measured["latency_ms"] for record in result.rounds]
    assert measured == pytest.approx([10, 6])


def test_the_callback_stops_at_a_latency(monkeypatch):
    fake_latencies(monkeypatch, lambda net: 2 + 2 * len(rp.find_units(net)))
    deletion = rp.LayerDeletion(epochs=1, units_per_round=2, target=LATENCY)
    net = own(dense_net(units=4))
    x, y = numbers(16)
    shorter, rounds = rp.fit_with_deletion(net, deletion, x, y, verbose=0)
    assert [each.removed for each in rounds] == [(), ("unit1", "unit2")]
    assert deletion.measures["latency_ms"] == pytest.approx(6)
    assert "70.0% of the initial latency on litert" in deletion.stop_reason
    assert len(rp.find_units(shorter)) == 2
    fixed = own()
    deletion = rp.LayerDeletion(epochs=1, target=rp.Target(layers=1))
    with pytest.raises(ValueError, match="cannot be reached: .* leaves 2 layers"):
        fixed.fit(x, y, callbacks=[deletion], verbose=0)


def test_the_callback_keeps_its_trainings_if_a_device_is_lost():
    def on_phone(path):
        if deletion.rounds:
            raise OSError("no device")
        return 5.0 + pathlib.Path(path).stat().st_size / 1000

    target = rp.Target(latency_ratio=0.9, runtime="litert", latency_fn=on_phone)
    deletion = rp.LayerDeletion(epochs=1, target=target)
    net = own(dense_net(units=4))
    with pytest.warns(UserWarning, match="cannot be measured: OSError: no device"):
        shorter, rounds = rp.fit_with_deletion(net, deletion, *numbers(16), verbose=0)
    assert [each.removed for each in rounds] == [(), ("unit1",)]
    assert set(deletion.rounds[0].measured) == {"latency_ms", "latency_ratio"}
    assert deletion.rounds[1].measured == {}
    assert set(deletion.measures) == {"layers", "units", "macs", "parameters"}
    assert len(rp.find_units(shorter)) == 3
    assert deletion.stop_reason.endswith("no device.")


def test_a_set_is_chosen_by_what_the_last_round_measured(monkeypatch):
    """In a run as in the callback."""
    fake_latencies(monkeypatch, lambda net: 2 + 2 * len(rp.find_units(net)))
    given, decide = [], Plan.next_units

    def spy(self, scores, model, images=None, on_step=None, measured=None):
        given.append(measured)
        return decide(self, scores, model, images, on_step, measured)

    monkeypatch.setattr(Plan, "next_units", spy)
    result = run_to(LATENCY, None, units_per_round="all")
    assert given == [result.rounds[0].measured]
    deletion = rp.LayerDeletion(epochs=1, units_per_round="all", target=LATENCY)
    rp.fit_with_deletion(own(dense_net(units=4)), deletion, *numbers(16), verbose=0)
    assert given[1:] == [deletion.rounds[0].measured]


@pytest.mark.parametrize("ratio, removed", [(0.703, 1), (0.9, 2)])
def test_all_at_once_prunes_a_model_on_by_what_is_missing(monkeypatch, ratio, removed):
    """Of 10 units of 1 ms, 7 may stay; timed again, they take a little longer."""
    fake_latencies(monkeypatch, lambda net: len(rp.find_units(net)))
    target = rp.Target(latency_ratio=0.7, latency_ms=7, runtime="litert")
    model = dense_net(units=10)
    removal = rp.Removal(
        target=target,
        units_per_round="all",
        criterion=rp.criteria.random(0),
        monitor="mae",
    )
    plan = Plan.check(model, removal)
    first = plan.next_units(plan.scores(model), model)
    assert len(first) == 3
    pruned = rp.remove_units(model, first)
    measured = {"latency_ms": 10 * ratio, "latency_ratio": ratio}
    further = plan.next_units(plan.scores(pruned), pruned, measured=measured)
    # 0.7 / 0.703 of 7 units is one unit less; 0.7 / 0.9 of them is two.
    assert len(further) == removed
