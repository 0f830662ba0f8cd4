"""Damaged, missing and unlisted files and wrong accuracies are found."""

import json
import shutil

import pytest

from experiments import verify
from experiments.pages import manifest
from tests.made.model_records import write_model_record, write_rounds

NAME = "digits/tiny-seed0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of records that agree."""
    records = tmp_path_factory.mktemp("whole") / "records"
    write_model_record(records / NAME)
    manifest.renew(records)
    return records


@pytest.fixture
def records(whole, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(whole, tmp_path / "records")


def verified(records, capsys, *arguments):
    """The exit status, the lines of the table, and all that was printed."""
    code = verify.main([f"--records={records}", *arguments])
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines() if line.startswith(NAME)]
    return code, lines, text


def test_records_that_agree(records, capsys):
    code, lines, text = verified(records, capsys)
    assert code == 0
    assert [line[1:3] + line[-1:] for line in lines] == [
        ["00", "360", "same"],
        ["01", "360", "same"],
    ]
    assert all(line[3] == line[5] for line in lines)
    assert f"2 of 2: {NAME}, round-01.keras ..." in text
    assert text.endswith(
        "Verified: 0 files differ; of 2 models 2 agree with their records, 0 do not, 0 "
        "were skipped.\n"
    )


def test_damaged_missing_and_unlisted_files(records, capsys):
    folder = records / NAME
    model = folder / "models/round-00.keras"
    damaged = bytearray(model.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    model.write_bytes(damaged)
    (folder / "environment.json").unlink()
    (folder / "models/round-09.keras").write_bytes(b"")
    code, lines, text = verified(records, capsys)
    assert code == 1
    for told in (
        f"WRONG: {NAME}/models/round-00.keras: differs from the file that",
        f"WRONG: {NAME}/environment.json: missing.",
        f"WRONG: {NAME}/models/round-09.keras: not listed.",
        "WRONG: the record has no round with the model round-09.keras",
        "FAILED: 3 files differ; ",
    ):
        assert told in text
    assert lines[1][-1] == "same"


@pytest.mark.parametrize(
    "key, change, told",
    [
        ("test_accuracy", 1 / 360, "1 more or fewer images are correct"),
        ("macs", 1, "640 MACs, recorded: 641"),
        ("parameters", 1, "has 650 parameters"),
    ],
)
def test_a_wrong_number(records, capsys, key, change, told):
    folder = records / NAME
    text = (folder / "rounds.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    lines[1][key] += change
    write_rounds(folder, lines)
    manifest.note(folder)
    code, table, text = verified(records, capsys)
    assert code == 1 and "WRONG:" in table[1] and told in text
    assert table[0][-1] == "same" and "0 files differ" in text


def test_data_that_are_missing_or_ordered_differently(records, capsys, tmp_path):
    """They are skipped, and the reason is shown."""
    (tmp_path / "data").mkdir()
    flags = records / NAME / "flags.txt"
    flags.write_text("--dataset=digits\n--test_examples=360\n")
    settings = json.loads((records / NAME / "run.json").read_text())
    settings["dataset"]["fingerprint"] = "of other images"
    (records / NAME / "run.json").write_text(json.dumps(settings))
    manifest.renew(records)
    code, table, text = verified(records, capsys)
    assert code == 0 and "skipped: the run used a subset of digits" in text
    flags.write_text("--dataset=cifar10\n")
    settings["dataset"]["name"] = "cifar10"
    (records / NAME / "run.json").write_text(json.dumps(settings))
    manifest.renew(records)
    code, table, text = verified(records, capsys, f"--data_dir={tmp_path / 'data'}")
    assert code == 0 and f"--data_dir is {tmp_path / 'data'}." in text
    assert "skipped: cifar10 was not found. --data_dir" in text
    assert text.count("reading the test images") == 1
    assert "of 2 models 0 agree with their records, 0 do not, 2 were skipped" in text


def test_only_the_named_records_are_measured(records, capsys):
    other = records / "digits" / "other-seed0"
    shutil.copytree(records / NAME, other)
    (other / "models" / "round-00.keras").unlink()
    verify.main([f"--records={records}", "--renew"])
    capsys.readouterr()
    assert verify.main([f"--records={records}", "digits/other-seed0"]) == 0
    text = capsys.readouterr().out
    assert "of 1 model 1 agree" in text and NAME not in text
    with pytest.raises(SystemExit):
        verify.main([f"--records={records}", "digits/none"])
    assert "there is no record 'digits/none' with models" in capsys.readouterr().err


def test_arguments_are_checked_first(tmp_path, capsys):
    with pytest.raises(SystemExit):
        verify.main([f"--records={tmp_path / 'no'}"])
    assert "there is no folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="has no SHA256SUMS"):
        verify.main([f"--records={tmp_path}"])
