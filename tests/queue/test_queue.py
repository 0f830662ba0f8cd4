"""The queue: commands that parse, epochs that add up, a page that is up to date."""

import re

import pytest

from experiments.claims import estimates
from experiments.paper.rows import BY_RUN, retrainings, rounds, settings
from experiments.queue import __main__ as queue
from experiments.queue.planned import PARTS, PLAN
from experiments.running import budget
from resprune_tf.system.whole_files import write_json
from tests.made.pages import cells
from tests.made.series import chain, keep


def test_the_committed_page_is_what_the_script_makes():
    assert queue.OUTPUT.read_text() == queue.page()


def test_every_entry_has_its_own_record_and_every_row_an_entry():
    names = [entry.row.record(entry.seed) for entry in PLAN]
    assert len(names) == len(set(names))
    planned = {(entry.row.run, entry.seed) for entry in PLAN}
    assert planned == {(r.run, seed) for r in BY_RUN.values() for seed in r.seeds}


def test_order():
    names = [entry.run for entry in PLAN]
    arms = ["k2", "restart", "random", "scratch-b", "small-lr"]
    assert names[:5] == [f"c10-{arm}-quarter-seed0" for arm in arms]
    assert names[5:9] == [f"c10-{arm}-quarter-seed1" for arm in arms[:4]]
    assert [entry.run for entry in PLAN if entry.part == PARTS[2]][:4] == [
        *("c10-k2-seed0", "c10-restart-seed0", "c10-main-seed0", "c10-k2-seed1"),
    ]


@pytest.mark.parametrize(
    ("run", "epochs"),
    [
        ("c10-k2", 200 + 4 * 60),  # 56 -> 32 layers
        ("c10-k2-quarter", 50 + 4 * 15),
        ("c10-restart", 4 * 60),
        ("c10-restart-quarter", 4 * 15),
        ("c10-main-restart", 8 * 60),
        ("c10-main", 8 * 60),
        ("c10-r29", 40 + 30),
        ("c10-r29-restart", 30),
        ("c10-guided", 15 * 60),  # 56 -> 11, from the main chain's first net
        ("c10-k4", 3 * 60),
        ("c10-retrain120", 8 * 120),
        ("c10-plain20", 200),
        ("c10-distilled47", 200),
        ("c10-scratch-e", 440),
        ("c10-paper", 15 * 200),
        ("in-main", 12 * 90),  # 50 -> 17 layers
        ("in-plain18", 90),
        ("c10-basic", 200 + 16 * 60),  # 27 -> 11 units
        ("c100-main", 200 + 7 * 60),  # 56 -> 35 layers
    ],
)
def test_epochs(run, epochs):
    assert sum(number for number, _ in rounds(BY_RUN[run])) == epochs


def test_rows_that_share_a_start_begin_alike():
    """--start_from asks for the same data, net, recipe and seed."""
    names = ("dataset", "depth", "unit_kind", "epochs", "seed", "precision", "drops")
    names += ("scale",)
    for row in BY_RUN.values():
        values = settings(row)
        if values["start_from"]:
            run = re.fullmatch("runs/(.*)-seed0", values["start_from"])[1]
            start = settings(BY_RUN[run])
            for name in names:
                assert values[name] == start[name], (row.run, name)


def test_every_run_that_an_entry_needs_comes_before_it():
    done = set()
    for entry in PLAN:
        needed = entry.row.needs(entry.seed)
        assert done.issuperset(needed), entry.run
        for run in needed:
            assert ("-quarter" in run) == (entry.row.scale == "quarter")
        done.add(entry.run)
    assert BY_RUN["c10-scratch-b-quarter"].needs(2) == ["c10-k2-quarter-seed2"]


def test_scratch_b_spends_the_compute_of_the_pruning_run():
    for scale in ("", "-quarter"):
        main = rounds(BY_RUN[f"c10-k2{scale}"])
        twin = rounds(BY_RUN[f"c10-scratch-b{scale}"])
        assert len(twin) == 1 and twin[0][1] == main[-1][1]
        spent = [sum(epochs * share for epochs, share in work) for work in (main, twin)]
        assert abs(spent[0] - spent[1]) < 1


def test_scratch_b_counts_as_its_command_once_the_pruning_run_is_on_record(tmp_path):
    row = BY_RUN["c10-scratch-b"]
    assert rounds(row, tmp_path) == rounds(row)
    losses, accuracies = (11, 11, 12, 33), (0.9,) * 5
    folder = keep(tmp_path, "c10-k2", 0, chain(losses=losses, accuracies=accuracies))
    # MACs go by units here: 200 epochs of 18 units, 60 of 16, 14, 12 and 10.
    ((epochs, share),) = rounds(row, tmp_path)
    assert epochs == (200 * 18 + 60 * (16 + 14 + 12 + 10)) / 10
    assert epochs == budget.epochs_of_compute(folder, 100_000, "last")  # the command
    assert share == rounds(row)[0][1]
    page = queue.page(tmp_path)
    assert cells(page, "c10-scratch-b", "full length")[3] == f"{epochs:,}"
    (folder / "final.json").unlink()
    assert rounds(row, tmp_path) == rounds(row)


@pytest.mark.parametrize(
    ("run", "number"), [("c10-k2", 4), ("c10-restart-quarter", 4), ("c10-plain20", 0)]
)
def test_rounds_after_the_initial_training(run, number):
    assert retrainings(BY_RUN[run]) == number


def test_minutes_go_by_the_accelerator_that_was_measured(tmp_path):
    record = {
        "settings": {"depth": 56, "width": 16, "batch_size": 128},
        "variants": {"ours-jax-bfloat16": {"status": "measured", "device": "Swift 1"}},
        "rounds": [
            {"ours-jax-bfloat16": {"train": {"images": 90_000, "seconds": seconds}}}
            for seconds in (3.0, 2.0, 2.0)
        ],
    }
    (tmp_path / "bench").mkdir()
    write_json(tmp_path / "bench" / "swift.json", record)
    assert estimates.epoch_seconds(tmp_path, accelerator=True) == ("Swift 1", 1.0)
    assert estimates.epoch_seconds(tmp_path, accelerator=False) is None
    # A network of other units takes another time, however fast it is.
    record["settings"] |= {"unit_kind": "basic", "activation": "post"}
    for each in record["rounds"]:
        each["ours-jax-bfloat16"]["train"]["seconds"] /= 2
    write_json(tmp_path / "bench" / "swift-basic-post.json", record)
    assert estimates.epoch_seconds(tmp_path, accelerator=True) == ("Swift 1", 1.0)
    page = queue.page(tmp_path)
    assert "from\n  1.0 seconds per epoch (measured on Swift 1)" in page


def test_progress_and_hours_come_from_the_records(tmp_path):
    cpu = {"environment": {"cpu": "Swift CPU", "devices": "1 cpu"}}
    folder = keep(tmp_path, "c10-k2-quarter", 1, chain(accuracies=(0.9, 0.9)))
    write_json(folder / "environment.json", cpu["environment"])
    settings = {"dataset": {"name": "cifar10", "train": 45_000}}
    write_json(folder / "run.json", settings)
    control = keep(tmp_path, "c10-random-quarter", 1, chain(accuracies=(0.9, 0.9)))
    write_json(control / "environment.json", cpu["environment"])
    begun = keep(tmp_path, "c10-k2-quarter", 0, chain(accuracies=(0.9,)))
    (begun / "final.json").unlink()
    page = queue.page(tmp_path)
    assert f"2 are done, 1 is\nin progress and {len(PLAN) - 3} are planned." in page
    row = cells(page, "c10-k2-quarter")
    assert row[4] == "2.0 (measured)"
    assert cells(page, "c10-random-quarter")[4] == "1.0 (measured)"
    assert row[6] == "0 in progress (round 0 of 4 finished); 1 done; 2 planned"
    # 200 epochs in an hour: 18 s an epoch.
    assert "18 seconds per epoch of ResNet-56 (Swift CPU)" in page


def test_the_page_refuses_a_record_of_another_scale(tmp_path):
    keep(tmp_path, "c10-k2-quarter", 0, chain(), scale="paper")
    with pytest.raises(ValueError, match="states --scale=quarter, but its"):
        queue.page(tmp_path)


_UNPRUNED = {"units_per_round", "target_layers", "max_rounds"}
_FROM_SCRATCH = _UNPRUNED | {"twin_of", "of_round", "retrain_epochs"}


@pytest.mark.parametrize(
    ("run", "control", "changed"),
    [
        ("c10-k2", "c10-restart", _UNPRUNED),
        ("c10-k2", "c10-random", {"criterion"}),
        ("c10-k2", "c10-largest", {"criterion"}),
        ("c10-k2", "c10-small-lr", {"retrain_learning_rate", "retrain_schedule"}),
        ("c10-k2", "c10-scratch-b", _FROM_SCRATCH | {"compute_of"}),
        ("c10-k2", "c10-scratch-e", _FROM_SCRATCH | {"epochs_of"}),
        ("c10-k2-quarter", "c10-restart-quarter", _UNPRUNED),
        ("c10-k2-quarter", "c10-scratch-b-quarter", _FROM_SCRATCH | {"compute_of"}),
        ("c10-r29", "c10-r29-restart", _UNPRUNED),
        ("c10-r29", "c10-r29-random", {"criterion"}),
        # --compute_of determines the epochs.
        ("c10-r29", "c10-r29-scratch-b", _FROM_SCRATCH | {"compute_of", "epochs"}),
    ],
)
def test_a_control_differs_only_in_what_it_controls(run, control, changed):
    ours, theirs = settings(BY_RUN[run]), settings(BY_RUN[control])
    differing = {name for name in ours if ours[name] != theirs[name]}
    assert differing - {"run_dir", "start_from"} == changed
