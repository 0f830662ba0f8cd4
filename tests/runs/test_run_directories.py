"""Run directories of others: another model's, damaged ones, and hostile ones."""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import keras
import numpy as np
import pytest

import resprune_tf as rp
from experiments.record import keep
from experiments.running import experiment
from resprune_tf.pruning import run_check
from resprune_tf.runs.records import RunDirectory
from resprune_tf.runs.state_file import pack_run, unpack_run
from resprune_tf.system.whole_files import read_json, read_lines, write_lines
from tests.made.cli import resprune, write_npz
from tests.made.options import options

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
DATA = rp.FitData(train=(ROWS, ROWS[:, :2]), validation=(ROWS, ROWS[:, :2]))
# A trace takes longer than the few steps of these runs.
COMPILED = {"optimizer": "sgd", "loss": "mse", "run_eagerly": True}


def net(seed=0, activation="tanh"):
    """Two units of one Dense layer each."""
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((4,), name="image")
    for number in (1, 2):
        branch = keras.layers.Dense(4, activation, name=f"dense{number}")(x)
        x = keras.layers.Add(name=f"unit{number}")([x, branch])
    model = keras.Model(image, keras.layers.Dense(2, name="head")(x), name="net")
    model = rp.add_importance(model)
    model.compile(**COMPILED)
    return model


def prune(model, run_dir, **settings):
    settings = {"max_rounds": 1, "monitor": "loss", "run_dir": run_dir, **settings}
    return rp.prune_and_retrain(model, DATA, rp.FitRecipe(1), **options(**settings))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    keras.backend.clear_session(free_memory=False)
    prune(net(), folder)
    return folder


@pytest.fixture(scope="module")
def same(finished):
    """The model of that run, which no run changes, for those that are refused."""
    return net()


@pytest.fixture
def run(finished, tmp_path):
    """A finished run of one's own."""
    return pathlib.Path(shutil.copytree(finished, tmp_path / "run"))


def interrupt(run):
    """Takes a finished run back to where its first round was over."""
    lines = read_lines(run / "rounds.jsonl")
    (run / "rounds.jsonl").write_text(json.dumps(lines[0]) + "\n")
    (run / "final.json").unlink()


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("other", [{"seed": 1}, {"activation": "relu"}])
def test_a_run_of_another_model_is_refused(run, other, done):
    if not done:
        interrupt(run)
    before = (run / "rounds.jsonl").read_text()
    with pytest.raises(rp.RunDirectoryError, match="model.*began with another model"):
        prune(net(**other), run)
    assert (run / "rounds.jsonl").read_text() == before


def test_the_same_model_continues(run):
    interrupt(run)
    prune(net(), run)
    first = keras.saving.load_model(run / "models/initial.keras", compile=False)
    first.compile(**COMPILED)
    assert len(prune(first, run).rounds) == 2


def test_a_criterion_without_a_name_is_told_from_another(same, tmp_path):
    def scores(sign):
        return lambda model: {unit.name: sign for unit in rp.find_units(model)}

    for _ in range(2):
        prune(same, tmp_path, criterion=scores(1))
    with pytest.raises(rp.RunDirectoryError, match="criterion_code: .*`__name__`"):
        prune(same, tmp_path, criterion=scores(-1))


def test_the_start_of_another_models_run_is_not_taken_over(run, tmp_path):
    result = prune(net(), tmp_path / "new", start_from=run)
    assert len(result.rounds) == 2
    with pytest.raises(rp.RunDirectoryError, match="another model"):
        prune(net(seed=1), tmp_path / "other", start_from=run)


@pytest.mark.parametrize("name", ["../victim.keras", "models/round-01.keras"])
def test_a_record_names_no_other_file(run, same, tmp_path, name):
    victim = tmp_path / "victim.keras"
    victim.write_bytes((run / "models/round-00.keras").read_bytes() + b"mine")
    kept = victim.read_bytes()
    lines = read_lines(run / "rounds.jsonl")
    lines[0]["model"] = name
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run / "rounds.jsonl").write_text(text)
    for use in (
        lambda: prune(same, run),
        lambda: prune(same, tmp_path / "new", start_from=run),
        lambda: pack_run(run, tmp_path / "run.tar"),
        lambda: RunDirectory(run).rounds,
    ):
        with pytest.raises(rp.RunDirectoryError, match="rounds.jsonl', line 1,.*model"):
            use()
    for name in ("flags.txt", "report.html"):
        (run / name).touch()
    with pytest.raises(ValueError, match="the model of round 0 must be"):
        keep(run, tmp_path / "records" / "smoke", models=True)
    assert victim.read_bytes() == kept and not (tmp_path / "run.tar").exists()


def test_links_are_not_packed(run, tmp_path):
    (run / "models/round-01.keras").unlink()
    (tmp_path / "secret").write_text("secret")
    (run / "models/round-01.keras").symlink_to(tmp_path / "secret")
    with pytest.raises(rp.RunDirectoryError, match="round-01.keras' is damaged.*link"):
        pack_run(run, tmp_path / "run.tar")
    assert not (tmp_path / "run.tar").exists()


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "a path": [member("../outside")],
    "a path from the root": [member("/tmp/outside")],
    "a link": [member("models/round-00.keras", tarfile.SYMTYPE, "../../outside")],
    "a hard link": [member("run.json", tarfile.LNKTYPE, "/etc/passwd")],
    "a folder": [member("models", tarfile.DIRTYPE)],
    "a device": [member("flags.txt", tarfile.FIFOTYPE)],
    "another name": [member("models/round-00.keras.py")],
    "a name twice": [member("flags.txt"), member("flags.txt")],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_only_plain_files_of_a_run_are_unpacked(tmp_path, members):
    with tarfile.open(tmp_path / "run.tar", "w") as archive:
        for each in members:
            archive.addfile(each, io.BytesIO())
    with pytest.raises(rp.RunDirectoryError, match=f"packed run: '{members[0].name}'"):
        unpack_run(tmp_path / "run.tar", tmp_path / "run")
    found = {path.name for path in tmp_path.rglob("*")}
    assert found == {"run.tar", "run", "models", "lock"}


def test_state_files_are_whole_and_not_compressed(run, tmp_path):
    pack_run(run, tmp_path / "run.tar")
    whole = (tmp_path / "run.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    with tarfile.open(tmp_path / "small.tar", "w:gz") as archive:
        archive.add(run / "run.json", "run.json")
    for name in ("cut.tar", "small.tar"):
        with pytest.raises(
            rp.RunDirectoryError, match=f"{name}' is (not a packed run|truncated)"
        ):
            unpack_run(tmp_path / name, tmp_path / "there")
    assert unpack_run(tmp_path / "run.tar", tmp_path / "there")
    assert not [*(tmp_path / "there").glob(".writing-*")]


def gone_process():
    """Number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        return gone.pid


def test_what_killed_processes_left_of_state_or_report_is_removed(run, tmp_path):
    gone, others = gone_process(), tmp_path / "others"
    others.mkdir()
    removed = others / f".writing-{gone}-run.tar"
    kept = [
        others / f".writing-{os.getppid()}-run.tar",
        others / f".writing-{gone}-other.tar",
        others / f".writing-{gone}-run.tar.gz",
    ]
    for path in (removed, *kept):
        path.touch()
    pack_run(run, others / "run.tar")
    assert {*others.iterdir()} == {others / "run.tar", *kept}
    page = run / f".writing-{gone}-report.html"
    page.touch()
    experiment._write_report(run)
    assert not page.exists()


def test_only_files_of_processes_that_are_gone_are_removed(tmp_path):
    gone = gone_process()
    alive = os.getppid()
    kept = [
        tmp_path / f".writing-{alive}-rounds.jsonl",
        tmp_path / ".writing-notes.txt",
        tmp_path / "mine" / f".writing-{gone}-notes.txt",
        tmp_path / "models" / "mine" / f".writing-{gone}-notes.txt",
    ]
    removed = [
        tmp_path / f".writing-{gone}-rounds.jsonl",
        tmp_path / "models" / f".writing-{gone}-round-00.keras",
    ]
    for path in (*kept, *removed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with RunDirectory(tmp_path):
        pass
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in removed)


DAMAGES = [
    ("run.json", b"", "choose another run directory"),
    ("run.json", b"[1]", "choose another run directory"),
    ("rounds.jsonl", b"{", "delete this line"),
    ("rounds.jsonl", b"[1]\n", "delete this line"),
    ("rounds.jsonl", b"{}\n", "delete this line"),
    ("rounds.jsonl", b"\xff\xfe", "delete this line"),
    ("history.jsonl", b'{"epoch": 1}\n', "delete the file"),
    ("history.jsonl", b'{"round": 0}\n{"rou', "delete the file"),
    ("history.jsonl", b"", "not contain every epoch of round 0.*delete the file"),
    (
        "history.jsonl",
        b'{"round": 0, "epoch": 2}\n',
        "not contain every epoch of round 0",
    ),
    ("history.jsonl", b'{"round": 0}\n', "not contain every epoch of round 0"),
    ("sessions.jsonl", b"[" * 99_999, "delete the line"),
    ("diverged.json", b'{"round": 1', "delete it: the round that diverged"),
    ("diverged.json", b"[1]", "delete it: the round that diverged"),
    ("diverged.json", b'{"round": 1}', "delete it: the round that diverged"),
    ("state.npz", b"", "delete it: the round"),
    ("state.npz", b"text", "delete it: the round"),
    ("models/initial.keras", b"", "later rounds do not need it"),
    ("models/round-00.keras", b"", "delete the line of its round in rounds.jsonl"),
    ("models/round-00.keras", None, "delete the line of its round in rounds.jsonl"),
]


@pytest.mark.parametrize("name, damage, advice", DAMAGES)
def test_a_damaged_file_is_named_before_any_work(
    run, same, monkeypatch, name, damage, advice
):
    interrupt(run)
    monkeypatch.setattr(
        "resprune_tf.pruning.rounds.PruningRun._round", None
    )  # no training
    if damage is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(damage)
    with pytest.raises(rp.RunDirectoryError, match=advice) as caught:
        prune(same, run)
    assert str(run / name) in str(caught.value)


def test_a_model_that_changed_on_the_disk_is_named(run):
    interrupt(run)
    path = run / "models/round-00.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(rp.RunDirectoryError, match="round-00.keras' is damaged"):
        prune(net(), run)


def test_history_may_begin_later_but_must_not_end_early(run):
    whole = (run / "history.jsonl").read_text()
    first, second = whole.splitlines(keepends=True)
    for allowed in (whole, second, whole + first.replace("0", "2", 1)):
        (run / "history.jsonl").write_text(allowed)
        run_check.check_files(run)
    (run / "history.jsonl").write_text(first)
    with pytest.raises(
        rp.RunDirectoryError, match="not contain every epoch of round 1"
    ):
        run_check.check_files(run)
    lines = (run / "rounds.jsonl").read_text()
    (run / "rounds.jsonl").write_text(lines.replace('"epochs": 1', '"epochs": 2'))
    parts = [
        {"round": number, "epoch": (part + 1) / 3}
        for number in range(2)
        for part in range(6)
    ]
    write_lines(run / "history.jsonl", parts)
    run_check.check_files(run)
    for cut in (1, 3, 6):
        write_lines(run / "history.jsonl", parts[:-cut])
        with pytest.raises(
            rp.RunDirectoryError, match="not contain every epoch of round 1"
        ):
            run_check.check_files(run)


def test_a_first_round_may_be_taken_over_without_its_history(run, tmp_path):
    (run / "history.jsonl").unlink()
    prune(net(), tmp_path / "next", start_from=run, max_rounds=0)
    assert not (tmp_path / "next/history.jsonl").exists()
    prune(net(), tmp_path / "next", start_from=run, max_rounds=0)
    (run / "history.jsonl").touch()
    with pytest.raises(rp.RunDirectoryError, match="history.jsonl' is damaged"):
        prune(net(), tmp_path / "third", start_from=run, max_rounds=0)


@pytest.mark.parametrize("name, value", [("epochs", "1"), ("validation_loss", "0.1")])
def test_a_record_of_another_type_is_named(run, same, name, value):
    lines = read_lines(run / "rounds.jsonl")
    write_lines(run / "rounds.jsonl", [lines[0], {**lines[1], name: value}])
    with pytest.raises(rp.RunDirectoryError, match="rounds.jsonl', line 2, is damaged"):
        prune(same, run)


def test_the_model_of_another_round_is_named(run, tmp_path):
    first, second = (run / f"models/round-0{number}.keras" for number in (0, 1))
    shutil.copy(second, first)
    with pytest.raises(rp.RunDirectoryError, match="round-00.keras' is damaged: its.*"):
        prune(net(), tmp_path / "next", start_from=run, max_rounds=0)
    interrupt(run)
    with pytest.raises(
        rp.RunDirectoryError, match="parameters, but the model of round 0 h"
    ):
        prune(net(), run)


def test_what_is_deleted_as_advised_is_made_again(run):
    lines = (run / "rounds.jsonl").read_text().splitlines(keepends=True)
    (run / "rounds.jsonl").write_text(lines[0])
    (run / "models/round-01.keras").write_text("damaged")
    (run / "final.json").write_text("damaged")
    assert len(prune(net(), run).rounds) == 2
    assert read_json(run / "final.json")["selected_round"] in (0, 1)


def test_a_command_refuses_the_run_of_another_models_file(tmp_path, capsys):
    path, data = tmp_path / "net.keras", tmp_path / "data.npz"
    write_npz(data, x=np.repeat(ROWS, 4, 0), y=np.repeat(ROWS[:, :2], 4, 0))
    argv = ["prune", path, "--data", data, "--out", tmp_path / "out", "--epochs", 1]
    argv += ["--criterion", "random", "--max-rounds", 1, "--tolerance", 9]
    net().save(path)
    code, _, err = resprune(capsys, *argv)
    assert code == 0, err
    net(seed=1).save(path)
    written = (tmp_path / "out/pruned.keras").read_bytes()
    code, _, err = resprune(capsys, *argv)
    assert code == 2 and "the run began with another model)" in err
    assert (tmp_path / "out/pruned.keras").read_bytes() == written
