"""The queue: commands that parse, epochs that add up, a page that is up to date."""

import re

import pytest

from experiments import queue
from experiments.rows import ROWS, rounds, settings
from resprune_tf.records import write_json

BY_RUN = {row.run: row for row in ROWS}


def test_the_committed_page_is_what_the_script_makes():
    assert queue.OUTPUT.read_text() == queue.page()


def test_every_row_has_its_own_records():
    names = [row.record(seed) for row in ROWS for seed in row.seeds]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("run", "epochs"),
    [
        ("c10-main", 200 + 8 * 60),  # 56 -> 32 layers
        ("c10-guided", 15 * 60),  # 56 -> 11, from the main chain's first net
        ("c10-k4", 2 * 60),
        ("c10-retrain120", 8 * 120),
        ("c10-plain20", 200),
        ("c10-distilled47", 200),
        ("c10-scratch-e", 680),
        ("c10-full", 680),
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
    for row in ROWS:
        values = settings(row)
        if values["start_from"]:
            run = re.fullmatch("runs/(.*)-seed0", values["start_from"])[1]
            start = settings(BY_RUN[run])
            for name in names:
                assert values[name] == start[name], (row.run, name)


def test_every_run_that_a_row_names_comes_before_it():
    done = set()
    for row in ROWS:
        named = re.findall(r"=runs/(\S+)-seed0(?= |$)", " ".join(row.command(0)))
        assert done.issuperset(set(named) - {row.run}), row.run
        done.add(row.run)


def test_scratch_b_spends_the_compute_of_the_main_chain():
    main, twin = rounds(BY_RUN["c10-main"]), rounds(BY_RUN["c10-scratch-b"])
    assert len(twin) == 1 and twin[0][1] == main[-1][1]
    spent = [sum(epochs * share for epochs, share in work) for work in (main, twin)]
    assert abs(spent[0] - spent[1]) < 1


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
    assert queue.epoch_seconds(tmp_path, accelerator=True) == ("Swift 1", 1.0)
    assert queue.epoch_seconds(tmp_path, accelerator=False) is None
    assert "1.0 seconds an epoch" in queue.page(tmp_path)
    assert "(measured on Swift 1)" in queue.page(tmp_path)


def test_finished_runs_are_counted(tmp_path):
    folder = tmp_path / "cifar10" / "c10-k2-seed1"
    folder.mkdir(parents=True)
    write_json(folder / "final.json", {})
    line = next(li for li in queue.page(tmp_path).splitlines() if "c10-k2 |" in li)
    assert line.endswith("| 1 of 3 seeds |")
