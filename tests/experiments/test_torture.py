"""The parts of the torture campaign that decide what is right; the campaign itself is
`make torture`."""

import json
import signal
import sys

import keras
import pytest

from experiments.torture import damage, hostile_files, page, process
from experiments.torture.case import SAME, refused, same
from experiments.torture.subject import difference

pytestmark = pytest.mark.slow


def ended(code, output):
    return process.Ended(code, output, 1.0, 100.0)


@pytest.mark.parametrize(
    "code, output, right, outcome",
    [
        (2, "loading\nerror: 'a.keras' is damaged", True, "refused: error: 'a.keras'"),
        (2, "error: another file", False, "does not mention a.keras"),
        (1, "Traceback (most recent call last):\nKeyError: 1", False, "traceback"),
        (0, "done", False, "accepted"),
        (-9, "", False, "SIGKILL"),
        (3, "out of luck", False, "no error message"),
    ],
)
def test_a_refusal_is_one_sentence_that_names_the_file(code, output, right, outcome):
    case = refused("cut", ended(code, output), "a.keras")
    assert case.right is right and outcome in case.outcome


def a_result(folder, seconds=1.0, accuracy=0.5, weight=1.0):
    folder.mkdir()
    line = {"accuracy": accuracy, "seconds": seconds}
    (folder / "rounds.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "summary.json").write_text(json.dumps({"rounds": [line]}))
    layer = keras.layers.Dense(
        1, kernel_initializer=keras.initializers.Constant(weight)
    )
    keras.Sequential([keras.Input((2,)), layer]).save(folder / "model.keras")
    (folder / "model.tflite").write_bytes(b"12")
    return folder


def test_results_are_compared_but_for_times(tmp_path):
    expected = a_result(tmp_path / "expected")
    assert difference(a_result(tmp_path / "same", seconds=2.0), expected) is None
    worse = a_result(tmp_path / "worse", accuracy=0.4)
    assert difference(worse, expected) == "rounds.jsonl differs"
    other = a_result(tmp_path / "other", weight=1.0000001)
    assert difference(other, expected) == "model.keras differs"
    (tmp_path / "same" / ".writing-1-x").touch()
    assert "left over" in difference(tmp_path / "same", expected)
    (tmp_path / "same" / ".writing-1-x").unlink()
    (tmp_path / "same" / "model.tflite").unlink()
    assert difference(tmp_path / "same", expected, {"model.tflite"}) is None
    assert difference(worse, expected, {"rounds.jsonl"}) == "rounds.jsonl differs"
    assert difference(tmp_path / "same", expected) == "model.tflite is missing"


@pytest.mark.parametrize("name", ["model.keras", "rounds.jsonl"])
@pytest.mark.parametrize("way", damage.WAYS)
def test_what_cannot_be_read_is_different(tmp_path, name, way):
    expected, broken = a_result(tmp_path / "expected"), a_result(tmp_path / "broken")
    damage.WAYS[way](broken / name)
    assert difference(broken, expected).startswith(name)


@pytest.mark.parametrize("way", damage.WAYS)
def test_damage_changes_a_file(tmp_path, way):
    path = tmp_path / "run.json"
    path.write_text('{"seed": 0, "tolerance": 0.25}')
    damage.WAYS[way](path)
    with pytest.raises(ValueError):
        json.loads(path.read_bytes())


_WRITES = """
import sys
from experiments.torture import dying
dying.die_at(2, sys.argv[1])
from resprune_tf.system.whole_files import write_text
for number in range(3):
    write_text(f"{sys.argv[2]}/{number}", "whole")
"""


@pytest.mark.parametrize("moment, files", [("during", ["0"]), ("after", ["0", "1"])])
def test_a_process_dies_at_the_write_that_was_chosen(tmp_path, moment, files):
    done = process.run([sys.executable, "-c", _WRITES, moment, str(tmp_path)])
    assert done.code == -signal.SIGKILL, done.output
    named = {path.name: path.read_text() for path in tmp_path.glob("[0-9]")}
    assert named == dict.fromkeys(files, "whole")
    cut = [path.read_text() for path in tmp_path.glob(".writing-*")]
    assert cut == (["wh"] if moment == "during" else [])


@pytest.mark.skipif(not process.small_disks(), reason="mounts need a namespace")
def test_a_small_disk_is_full(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "before").write_text("kept")
    command = ["dd", "if=/dev/zero", f"of={folder}/big", "bs=1024", "count=400"]
    done = process.on_small_disk(command, folder, kilobytes=200)
    assert done.code and "No space left" in done.output
    assert (folder / "before").read_text() == "kept"
    assert 100 << 10 < (folder / "big").stat().st_size <= 200 << 10


def test_the_page_counts_cases_and_says_what_went_wrong(tmp_path):
    cases = [
        {"case": "training", "outcome": SAME, "right": True, "kills": 4},
        {"case": "training", "outcome": SAME, "right": True, "kills": 2},
        {"case": "export", "outcome": "model.onnx differs", "right": False},
    ]
    facts = {"cpu": "CPU", "cores": 2, "keras": "3", "backend": "tensorflow"}
    kills = {"seed": 1, "seconds": 120, "environment": facts, "cases": cases}
    path = tmp_path / "torture" / "campaign.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"kinds": {"kills": kills}}))
    text = page.make(tmp_path).text
    assert "| kills | 3 | 6 | 2 | 1 | 2 |" in text
    assert "| kills | training | 2 | - | 2 | - | - |" in text
    assert "| kills | export | 1 | - | - | - | 1 |" in text
    assert "- **Wrong**: kills, export: model.onnx differs\n" in text
    assert "Run on CPU, 2 processors, Keras 3, tensorflow, seed 1: kills." in text
    assert "not run" in text  # the other kinds


def test_the_page_groups_cases_by_what_is_attacked(tmp_path):
    assert page.make(tmp_path) is None
    facts = {"cpu": "CPU", "cores": 1, "keras": "3", "backend": "tensorflow"}
    outcomes = {
        "damage": ("run.json emptied", "refused: error: 'run.json' is damaged"),
        "disk": ("prune, full at 2%", "refused: no space"),
        "hostile files": (".npz: a header that is an expression", "harmless"),
    }
    kinds = {
        kind: {
            "seed": 1,
            "seconds": 60,
            "environment": facts,
            "cases": [{"case": case, "outcome": outcome, "right": True}],
        }
        for kind, (case, outcome) in outcomes.items()
    }
    path = tmp_path / "torture" / "campaign.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"kinds": kinds}))
    text = page.make(tmp_path).text
    assert "| damage | run.json | 1 | 1 | - | - | - |" in text
    assert "| disk | prune | 1 | 1 | - | - | - |" in text
    assert "| hostile files | .npz | 1 | - | - | 1 | - |" in text
    assert "- .npz: a header that is an expression.\n" in text
    assert "is damaged" not in text and "records/torture/campaign.json" in text


def test_there_are_enough_hostile_files_and_each_has_a_name():
    assert len(hostile_files.FILES) >= 20
    assert set(hostile_files.HARMLESS) <= set(hostile_files.FILES)
    assert same("x", None).right and not same("x", "differs").right
