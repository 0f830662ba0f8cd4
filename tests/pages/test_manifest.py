"""The committed records are the files whose hashes were committed with them."""

import hashlib

import pytest

from experiments import verify
from experiments.pages import manifest
from experiments.pages.results import RECORDS


@pytest.fixture
def records(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/one", "a/two"):
        (tmp_path / name).write_text(name)
    assert manifest.renew(tmp_path) == ["SHA256SUMS: new."]
    return tmp_path


def test_the_committed_records_are_listed():
    """After a change of records: `python -m experiments.verify --renew`."""
    assert manifest.problems(RECORDS) == [], "python -m experiments.verify --renew"


def test_the_form_is_that_of_sha256sum(records):
    digest = hashlib.sha256(b"a/b/one").hexdigest()
    text = (records / manifest.NAME).read_text()
    assert text.splitlines()[0] == f"{digest}  a/b/one"
    assert text.endswith("  a/two\n") and len(text.splitlines()) == 2


def test_every_kind_of_difference_is_found(records):
    assert manifest.problems(records) == []
    (records / "a/b/.new-c").mkdir()
    (records / "a/b/.new-c/half").touch()  # being written
    (records / "a/b/report.html").touch()
    assert manifest.problems(records) == []
    (records / "a/b/one").write_text("a/b/One")
    (records / "a/two").unlink()
    (records / "a/new").touch()
    with (records / manifest.NAME).open("a") as file:
        file.write(f"{'0' * 64}  a/two\n")
    assert manifest.problems(records) == [
        "a/two: listed twice.",
        "a/b/one: differs from the file that was recorded.",
        "a/new: not listed.",
        "a/two: missing.",
    ]
    assert len(manifest.renew(records)) == 4
    assert manifest.renew(records) == []


def test_what_was_written_is_noted_and_nothing_else(records):
    (records / "a/two").write_text("changed by nobody known")
    (records / "a/b/one").unlink()
    (records / "a/b/three").touch()
    manifest.note(records / "a" / "b")
    left = ["a/two: differs from the file that was recorded."]
    assert manifest.problems(records) == left
    (records / "a/bb").touch()
    manifest.note(records / "a/bb")
    assert manifest.problems(records) == left
    (records / manifest.NAME).unlink()
    manifest.note(records / "a/two")
    assert not (records / manifest.NAME).exists()


def test_a_damaged_manifest_is_an_error_and_stops_no_run(records):
    path = records / manifest.NAME
    path.write_text(path.read_text() + "<<<<<<< ours\n")
    with pytest.raises(ValueError, match="line 3, is not a hash and a name: '<<<<<<<"):
        manifest.problems(records)
    manifest.note(records / "a/two")
    assert manifest.problems(records) == []
    path.unlink()
    with pytest.raises(ValueError, match="has no SHA256SUMS.*--renew"):
        manifest.problems(records)


def test_renewing_from_the_command_line(records, capsys):
    (records / "a/two").write_text("changed")
    assert verify.main([f"--records={records}", "--renew"]) == 0
    assert capsys.readouterr().out == (
        "a/two: differs from the file that was recorded.\n"
        f"{records / manifest.NAME}: written\n"
    )
    assert manifest.problems(records) == []
