"""Run directories: atomic files, one owner, refusal of another run's settings."""

import dataclasses
import json
import os
import pathlib
import time

import pytest

from resprune_tf.runs import records
from resprune_tf.runs.records import Round, RunDirectory
from resprune_tf.system.whole_files import (
    RunDirectoryError,
    atomic_file,
    read_json,
    read_lines,
    write_json,
    write_lines,
    write_text,
)
from tests.made.processes import Forked

ROOT = pathlib.Path(__file__).parents[2]
ROUND = Round(
    round=0,
    removed=(),
    units=("stage1_unit1", "stage1_unit2"),
    layers=20,
    parameters=1000,
    macs=2000,
    importances={"stage1_unit2": -0.25},
    scores={"stage1_unit2": 0.25},
    epochs=3,
    train={"loss": 0.5, "accuracy": 0.75},
    validation={"loss": 0.6, "accuracy": 0.7},
    test={"loss": 0.7, "accuracy": 0.65},
    seconds=1.5,
    model="models/round-00.keras",
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError, match="half way"), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_temporary_file_keeps_the_suffix(tmp_path):
    with atomic_file(tmp_path / "m.keras") as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("x")
    assert (tmp_path / "m.keras").read_text() == "x"


def test_lines_and_missing_files(tmp_path):
    assert read_json(tmp_path / "no") is None
    assert read_lines(tmp_path / "no") == []
    write_lines(tmp_path / "l", [{"a": 1}, {"b": "ω"}])
    assert read_lines(tmp_path / "l") == [{"a": 1}, {"b": "ω"}]


def test_rounds_round_trip(tmp_path):
    with RunDirectory(tmp_path / "run") as run:
        run.add_round(ROUND, [{"epoch": 1, "loss": 0.5}])
        more = {"correct": {"validation": "0f80"}, "kept": {"stage1_unit1": "why"}}
        told = dataclasses.replace(ROUND, **more)
        assert Round.from_line(json.loads(json.dumps(told.line()))) == told
        assert run.rounds == [ROUND]
        assert run.rounds[0].measure("test", "accuracy") == 0.65
    assert read_lines(tmp_path / "run/history.jsonl") == [
        {"round": 0, "epoch": 1, "loss": 0.5}
    ]
    assert len((tmp_path / "run/rounds.jsonl").read_text().splitlines()) == 1


def test_a_line_names_each_measure_by_its_split():
    """The form of the records of all earlier runs."""
    line = ROUND.line()
    names = [name for name in line if name.startswith(("train", "valid", "test"))]
    assert names == [
        f"{split}_{name}"
        for split in ("train", "validation", "test")
        for name in ("loss", "accuracy")
    ]
    assert line["test_accuracy"] == 0.65 and list(line)[-2:] == ["seconds", "model"]


def test_a_round_without_test_data_and_with_other_measures(tmp_path):
    record = dataclasses.replace(
        ROUND, train={}, validation={"loss": 2.0, "mean_absolute_error": 1.0}, test={}
    )
    with RunDirectory(tmp_path) as run:
        run.add_round(record, [])
        assert run.rounds == [record]


def test_committed_records_read():
    paths = sorted((ROOT / "records").glob("*/*/rounds.jsonl"))
    assert len(paths) > 10
    for path in paths:
        for line in read_lines(path):
            again = json.dumps(Round.from_line(line).line())
            assert again == json.dumps(line)


def test_history_of_a_round_that_was_not_committed_is_replaced(tmp_path):
    with RunDirectory(tmp_path) as run:
        write_lines(tmp_path / "history.jsonl", [{"round": 0, "epoch": 9}])
        run.add_round(ROUND, [{"epoch": 1}])
    assert read_lines(tmp_path / "history.jsonl") == [{"round": 0, "epoch": 1}]


def test_settings_must_agree(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.claim({"seed": 0, "recipe": {"l2": 1e-4, "milestones": (1, 2)}})
        run.claim({"seed": 0, "recipe": {"l2": 1e-4, "milestones": (1, 2)}})
        with pytest.raises(
            RunDirectoryError, match=r"recipe.l2: 0.0001 there, 0.1 now; seed: 0 there"
        ):
            run.claim({"seed": 1, "recipe": {"l2": 0.1, "milestones": (1, 2)}})


def test_settings_that_only_judge_rounds_may_change(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.claim({"seed": 0, "tolerance": 0.0})
        write_text(tmp_path / "final.json", "{}")
        run.claim({"seed": 0, "tolerance": 0.0})
        assert (tmp_path / "final.json").exists()
        run.claim({"seed": 0, "tolerance": 0.01})
        assert not (tmp_path / "final.json").exists()
        with pytest.raises(RunDirectoryError, match=r"\(seed: 0 there, 1 now\)"):
            run.claim({"seed": 1, "tolerance": 0.02})
    assert read_json(tmp_path / "run.json") == {"seed": 0, "tolerance": 0.01}


def test_rounds_without_settings_are_not_continued(tmp_path):
    write_text(tmp_path / "rounds.jsonl", "")
    with RunDirectory(tmp_path) as run:
        with pytest.raises(RunDirectoryError, match="no run.json"):
            run.claim({})


@pytest.mark.slow
def test_a_second_process_is_refused_and_a_killed_one_frees(tmp_path):
    run_dir = tmp_path / "run"
    child = Forked("tests.runs.holding_child", run_dir, log=tmp_path / "log")
    while "held" not in child.output():
        assert child.poll() is None
        time.sleep(0.05)
    with pytest.raises(RunDirectoryError, match="Another process is working in"):
        RunDirectory(run_dir).__enter__()
    child.kill()
    child.wait()
    assert list(run_dir.glob(".writing-*"))
    with RunDirectory(run_dir):
        assert not list(run_dir.glob(".writing-*"))


def test_an_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="Cannot write.*file/run"):
        RunDirectory(tmp_path / "file" / "run").__enter__()


def test_sessions_add_up(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.add_session(round=0)
        run.add_session(round=1)
    assert [line["round"] for line in read_lines(tmp_path / "sessions.jsonl")] == [0, 1]


def test_a_failed_criterion_may_be_replaced_by_one_without_a_checksum(tmp_path):
    coded, named = {"criterion": "a", "criterion_code": "01234567"}, {"criterion": "a"}
    with RunDirectory(tmp_path) as run:
        run.claim(coded)
        with pytest.raises(RunDirectoryError, match="criterion_code"):
            run.claim(named)
        run.release_criterion()
        run.claim(named)
        run.claim(named)
        with pytest.raises(RunDirectoryError, match="criterion_code"):
            run.claim(coded)


def test_other_units_in_the_same_model_may_be_unregistered():
    old = {"initial": {"units": 5, "layers": 9}, "model": {"graph": "abc"}, "seed": 1}
    new = {**old, "initial": {"units": 2, "layers": 9}}
    assert "initial.units: 5 there, 2 now; other units" in records._changes(old, new)
    assert "`register_merge` and `register_unit` as before" in records._changes(
        old, new
    )
    other = {**new, "model": {"graph": "def"}}
    assert "register_merge" not in records._changes(old, other)
    assert "register_merge" not in records._changes(old, {**old, "seed": 2})
