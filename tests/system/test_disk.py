"""Full disks, places that cannot be written, and what a killed export left behind."""

import contextlib
import errno
import os
import platform
import subprocess

import keras
import numpy as np
import pytest

import experiments
import resprune_tf as rp
from resprune_cli.commands import inspect
from resprune_cli.main import main
from resprune_cli.options import values
from resprune_cli.options.usage import Failed, WrongUse
from resprune_tf.deploy.formats import check_place, write
from resprune_tf.runs.checkpoint import save_state
from resprune_tf.system.disk import folder_problem, full_disk, staging_folder
from resprune_tf.system.whole_files import atomic_file, write_json

resource = pytest.importorskip("resource")


@contextlib.contextmanager
def small_files(most):
    """No file may become larger than `most` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def model():
    numbers = keras.Input((64,))
    branch = keras.layers.Dense(64, name="branch")(numbers)
    made = keras.Model(numbers, keras.layers.Add(name="sum")([numbers, branch]))
    made.compile("adam", "mse")
    made.optimizer.build(made.trainable_variables)
    return made


def no_space(path=None):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_full_disk_is_known_by_whatever_is_raised():
    assert "'here'" in str(full_disk(no_space("here")))
    assert "'there'" in str(full_disk(OSError(errno.EFBIG, "too large"), "there"))
    text = "write failed: errno = 28, error message = 'No space left on device'"
    assert full_disk(RuntimeError(text)) is not None
    wrapped = ValueError("cannot be written")
    wrapped.__cause__ = TypeError("a converter failed")
    wrapped.__cause__.__context__ = no_space()
    assert full_disk(wrapped) is not None
    assert full_disk(PermissionError(errno.EACCES, "Permission denied")) is None
    assert full_disk(ValueError("28 units")) is None


@pytest.mark.parametrize("writer", ["keras", "npz", "json"])
def test_what_was_written_before_stays(tmp_path, model, writer):
    path = tmp_path / f"file.{writer}"
    path.write_text("old")
    with small_files(3000), pytest.raises(rp.DiskFullError) as raised:
        if writer == "keras":
            with atomic_file(path) as temporary:
                model.save(temporary)
        elif writer == "npz":
            save_state(path, model)
        else:
            write_json(path, "long" * 2000)
    assert f"'{path}'" in str(raised.value)
    assert "Then repeat the call or command." in str(raised.value)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


def test_a_format_is_not_said_to_refuse_the_model(tmp_path, model):
    with small_files(3000), pytest.raises(rp.DiskFullError, match=str(tmp_path)):
        write("saved_model", model, tmp_path)


@pytest.mark.parametrize("kind", [OSError, Failed, WrongUse])
def test_resprune_says_it_in_a_sentence(tmp_path, model, monkeypatch, capsys, kind):
    def run(args):
        try:
            raise no_space(str(tmp_path / "file"))
        except OSError as error:
            raise (error if kind is OSError else kind("Cannot be.")) from error

    monkeypatch.setattr(inspect, "run", run)
    model.save(tmp_path / "net.keras")
    assert main(["inspect", str(tmp_path / "net.keras")]) == 1
    said = capsys.readouterr().err
    assert f"no space left to write '{tmp_path}/file'" in said
    assert said.startswith("Starting Keras ...\n") and said.count("\n") == 2


def test_experiments_say_it_in_a_sentence(capsys):
    experiments._in_one_sentence(OSError, no_space("runs/a/state.npz"), None)
    assert "error: There is no space left to write 'runs/a/state.npz'." in (
        capsys.readouterr().err
    )
    experiments._in_one_sentence(ValueError, ValueError("else"), None)
    assert "ValueError: else" in capsys.readouterr().err


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path, problem in (
        ("", "the name is empty"),
        (tmp_path / "file", "file' is a file"),
        (tmp_path / "file" / "run", "file' is a file"),
        (tmp_path / ("n" * 256), "too long"),
        (tmp_path / "new" / ("n" * 256), "a name in it is too long"),
        (f"{tmp_path}{'/long' * 1000}", "too long"),
        ("a\0b", "null character"),
    ):
        assert problem in folder_problem(path)
        # Before anything is looked at, which there is not.
        with pytest.raises(rp.RunDirectoryError, match="Choose another run directory"):
            rp.prune_and_retrain(None, None, rp.FitRecipe(1), run=rp.RunOptions(path))
        with pytest.raises(ValueError, match="Choose another folder"):
            check_place(path, ("keras",))
    assert folder_problem(tmp_path / "new" / "run") is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["", "n" * 300])
def test_the_command_line_refuses_such_names(name):
    with pytest.raises(values.argparse.ArgumentTypeError):
        values.folder(name)


def test_an_out_below_a_file_is_refused(tmp_path, model, capsys):
    path = tmp_path / "net.keras"
    model.save(path)
    out = str(path / "out")
    assert main(["export", str(path), "--formats", "keras", "--out", out]) == 2
    assert "net.keras' is a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a[b]", "a\\b"])
def test_names_that_tensorflow_reads_as_patterns(tmp_path, model, name):
    with pytest.raises(ValueError, match="'litert'.* as a pattern"):
        rp.export(model, tmp_path / name, ("keras", "litert"), np.zeros((4, 64)))
    assert list(tmp_path.iterdir()) == []
    check_place(tmp_path / name, ("keras",))


def test_what_killed_processes_left_is_removed(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    gone, other = f".export-{platform.node()}-{process.pid}-a_b", ".export-far-1-ab"
    alive = f".export-{platform.node()}-{os.getppid()}-ab"
    for name in (gone, other, alive, ".export-mine", "exported"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with staging_folder(tmp_path) as folder:
        assert folder.parent == tmp_path and not (tmp_path / gone).exists()
        with staging_folder(tmp_path):
            assert folder.exists()
    kept = sorted(each.name for each in tmp_path.iterdir())
    assert kept == sorted([other, alive, ".export-mine", "exported"])
