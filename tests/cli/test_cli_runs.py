"""What the commands do, on a net of three units."""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

from resprune_cli.options.usage import Failed
from resprune_cli.work import data_source, measuring, pruning, retraining
from resprune_cli.work.comparing import table
from resprune_tf import (
    PruningResult,
    Round,
    Target,
    add_importance,
    find_units,
    importances,
    remove_units,
)
from resprune_tf.deploy.fresh_process import RuntimeFailed
from resprune_tf.pruning.plan import Plan
from resprune_tf.system.wording import busy_note
from resprune_tf.training.recalibration import Recalibration, recalibrate
from tests.conftest import net_of, outputs, randomise
from tests.made.cli import (
    Block,
    besides_progress,
    brightness_net,
    eager,
    examples,
    plain_net,
    resprune,
    resprune_json,
    write_npz,
)
from tests.made.latency import fake_latencies

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_plots")]

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with `net.keras`, trained a little, and `data.npz`."""
    folder = tmp_path_factory.mktemp("given")
    keras.utils.set_random_seed(0)
    net = eager(plain_net())
    images, labels = examples()
    net.fit(images[..., None], labels, epochs=2, verbose=0)
    net.save(folder / "net.keras")
    write_npz(folder / "data.npz")
    write_npz(folder / "unlabelled.npz", images=images)
    return folder


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Arguments: a net that needs no training and its data, whose pixels are raw."""
    folder = tmp_path_factory.mktemp("bright")
    eager(brightness_net()).save(folder / "bright.keras")
    return [folder / "bright.keras", "--data", write_npz(folder / "data.npz")]


@pytest.fixture
def net(given):
    return keras.saving.load_model(given / "net.keras", compile=False)


def images_of_data():
    return examples()[0][..., None]


# inspect


def test_inspect_lists_units_and_what_can_be_reached(given, net, capsys):
    code, out, _ = resprune(capsys, "inspect", given / "net.keras")
    assert code == 0
    assert out.startswith(f"{find_units(net)}\n")
    assert "'plain': 3 of 3 residual units can be removed." in out
    assert "5 layers on the longest path" in out


def test_inspect_tells_programs_the_same(given, capsys):
    told = resprune_json(capsys, "inspect", given / "net.keras")
    assert [unit["name"] for unit in told["units"]] == ["unit1", "unit2", "unit3"]
    assert told["units"][0]["removable"] is True
    assert told["cost"]["layers"] == 5
    assert told["achievable"]["smallest"]["layers"] == 2
    assert told["file_bytes"] == (given / "net.keras").stat().st_size


def test_all_commands_measure_the_same_file(tmp_path, capsys, in_this_process):
    """What `export` writes: of a compiled net, whose own file has an optimizer."""
    path, name = tmp_path / "net.keras", "exported_keras_bytes"
    eager(remove_units(brightness_net(), "unit1")).save(path)
    seen = resprune_json(capsys, "inspect", path)[name]
    argv = ["compare", path, path, "--runtime", "none"]
    assert resprune_json(capsys, *argv)["a"][name] == seen
    argv = ["export", path, "--formats", "keras, saved_model", "--out", tmp_path / "a"]
    (written, _) = resprune_json(capsys, *argv)["files"]
    assert written["bytes"] == seen < path.stat().st_size
    argv = ["prune", path, "--epochs", 0, "--criterion", "random", "--out", tmp_path]
    argv += ["--target", "size=0.95", "--file-format", "saved_model"]
    told = resprune_json(capsys, *argv)
    assert told["before"][name] == seen
    initial = told["solution"]["initial"]["file_bytes"]
    # Twice the same SavedModel differs by a byte or two.
    size = told["before"]["exported_saved_model_bytes"]
    assert size == pytest.approx(initial, rel=0.01)


def test_inspect_draws(given, tmp_path, capsys):
    picture = tmp_path / "units.svg"
    code, out, _ = resprune(
        capsys, "inspect", given / "net.keras", "--picture", picture
    )
    assert code == 0 and f"Drawn: {picture}" in out
    assert picture.read_text().startswith("<?xml")


def test_inspect_expands_blocks(tmp_path, capsys):
    net = net_of((4,), Block(name="block"), layers.Dense(2, name="end"))
    net.save(tmp_path / "net.keras")
    argv = ["inspect", tmp_path / "net.keras", "--import", "tests.made.cli"]
    closed = resprune_json(capsys, *argv)
    opened = resprune_json(capsys, *argv, "--expand")
    code, out, _ = resprune(capsys, *argv)
    assert code == 0 and "Not searched (--expand opens such layers)" in out
    assert not closed["units"] and closed["opaque"][0]["name"] == "block"
    assert len(opened["units"]) == 1 and not opened["opaque"]
    argv = ["prune", *argv[1:], "--epochs", 0, "--criterion", "random"]
    argv += ["--target", "units=1", "--out", tmp_path]
    code, _, err = resprune(capsys, *argv)
    assert code == 2 and "--expand opens such layers" in err
    argv = ["scores", *argv[1:4], "--criteria", "random"]
    data = write_npz(tmp_path / "data.npz", x=np.ones((9, 4), "float32"))
    code, _, err = resprune(capsys, *argv, "--data", data)
    assert code == 2 and "nothing to score" in err and "--expand opens" in err
    told = resprune_json(capsys, *argv, "--data", data, "--expand")
    assert len(told["scores"]["random"]) == 1


def test_units_that_must_stay_are_told_without_python(tmp_path, capsys):
    image = keras.Input((4,))
    y = layers.Dense(2, name="branch")(image)
    x = layers.Add(name="unit_add")([layers.Dense(2, name="projection")(image), y])
    keras.Model(image, x).save(tmp_path / "net.keras")
    code, out, _ = resprune(capsys, "inspect", tmp_path / "net.keras")
    assert code == 0 and "Cannot be removed whole:\n  unit: its shortcut" in out


def test_scores_that_need_importances_name_others(given, capsys):
    argv = ["--data", given / "unlabelled.npz", "--criteria", "cka, importance"]
    code, _, err = resprune(capsys, "scores", given / "net.keras", *argv)
    assert code == 2 and "Choose another criterion" in err
    assert "add_importance" not in err


def test_more_units_a_round_than_there_are(given, tmp_path, capsys):
    argv = retrained(given, tmp_path, "--units-per-round", 4)
    code, _, err = resprune(capsys, *argv)
    assert code == 2 and "--units-per-round must be from 1 to 3" in err
    code, _, err = resprune(capsys, *argv[:-1], 3, "--protect", "unit1")
    assert (
        code == 2 and "from 1 to 2, the number of removable units. Received: 3." in err
    )


def test_a_tolerance_of_an_accuracy_is_a_fraction(given, tmp_path, capsys):
    argv = retrained(given, tmp_path, "--units-per-round", 2)
    for options in ([], ["--epochs", 0]):
        line = argv[:-2] + options if options else argv
        code, out, err = resprune(capsys, *line, "--tolerance", 1)
        assert code == 2 and "is a fraction below 1" in err
        assert "Units are scored" not in out
    line = [*argv[:-2], "--epochs", 0, "--monitor", "auc"]
    code, _, err = resprune(capsys, *line)
    assert (
        code == 2
        and "--monitor 'auc' is not measured. Give one of these: accuracy, loss" in err
    )


# scores


def test_scores_of_some_criteria(given, capsys):
    argv = ["--data", given / "unlabelled.npz", "--criteria", "cka,block_influence"]
    told = resprune_json(
        capsys, "scores", given / "net.keras", *argv, "--score-examples", 20
    )
    assert list(told["scores"]) == ["cka", "block_influence"]
    assert told["images"] == 20


def test_criteria_that_are_left_out_say_why_in_words_of_the_command(given, capsys):
    argv = ["scores", given / "net.keras", "--data", given / "unlabelled.npz"]
    code, out, _ = resprune(capsys, *argv)
    assert code == 0 and "taylor was not computed: taylor needs labels" in out
    (line,) = [line for line in out.splitlines() if line.startswith("importance was")]
    assert line.endswith("`resprune prune --criterion importance` trains.")


# prune --epochs 0


def test_pruning_at_once_scores_again_after_each_removal(given, net, tmp_path, capsys):
    argv = ["--data", given / "unlabelled.npz", "--epochs", 0, "--target", "units=1"]
    out = tmp_path / "out"
    code, text, err = resprune(
        capsys, "prune", given / "net.keras", *argv, "--out", out
    )
    assert code == 0, err
    told = json.loads((out / "summary.json").read_text())
    report = (out / "report.html").read_text()
    assert text.endswith(f"Report: {out / 'report.html'}\n")
    for words in ("pruned from 5 to 3 layers", "Scores by block_influence", "no accur"):
        assert words in report.replace("\N{NBSP}", " "), words
    assert "cannot be removed" not in report and "McNemar" not in text
    assert told["criterion"] == "block_influence" and len(told["removed"]) == 2
    assert (told["before"]["layers"], told["after"]["layers"]) == (5, 3)
    assert f"Written: {out / 'pruned.keras'}" in text
    steps = told["solution"]["steps"]
    assert [step["unit"] for step in steps] == told["removed"]
    assert [len(step["scores"]) for step in steps] == [3, 2]
    assert f"  without {told['removed'][0]} (score " in text
    pruned = keras.saving.load_model(out / "pruned.keras")
    expected = remove_units(net, told["removed"])
    images = images_of_data()
    np.testing.assert_array_equal(outputs(pruned, images), outputs(expected, images))
    assert pruned.loss == "sparse_categorical_crossentropy"


def test_pruning_at_once_recalibrates_after_each_removal(given, tmp_path, capsys):
    argv = ["--data", given / "unlabelled.npz", "--epochs", 0, "--target", "units=1"]
    again = [*argv, "--recalibrate", "--out", tmp_path / "out"]
    with mock.patch(
        "resprune_tf.training.recalibration.recalibrate", wraps=recalibrate
    ) as recalibrated:
        code, _, err = resprune(capsys, "prune", given / "net.keras", *again)
    assert code == 0, err
    # Before each scoring, in the criterion, and after each removal.
    lost = [3 - len(find_units(call.args[0])) for call in recalibrated.mock_calls]
    assert lost == [0, 1, 1, 2]


@pytest.mark.parametrize(("given_size", "expected"), [((), 256), ((7,), 7)])
@pytest.mark.parametrize("criterion", ["random", "block_influence"])
def test_the_batch_size_limits_recalibration_only_if_it_is_given(
    given, tmp_path, capsys, given_size, expected, criterion
):
    argv = ["--data", given / "unlabelled.npz", "--epochs", 0, "--target", "units=2"]
    argv += ["--criterion", criterion, "--recalibrate", "--out", tmp_path / "out"]
    for size in given_size:
        argv += ["--batch-size", size]
    sizes = []

    def run(self, images, batch_size):
        sizes.append(batch_size)
        return really_run(self, images, batch_size)

    really_run = Recalibration.run
    with mock.patch.object(Recalibration, "run", run):
        code, _, err = resprune(capsys, "prune", given / "net.keras", *argv)
    assert code == 0, err
    assert sizes[-1] == expected  # that of the pruned model
    if criterion == "block_influence":  # it recalibrates before it scores
        assert sizes[:-1] == [given_size[0] if given_size else 32]


@pytest.mark.parametrize("criterion", ["random", "block_influence"])
def test_one_set_is_solved_for_where_scoring_again_cannot_help(
    given, tmp_path, capsys, criterion
):
    limit = "units=1" if criterion == "random" else "size=0.95"
    argv = ["--data", given / "unlabelled.npz", "--epochs", 0, "--target", limit]
    argv += ["--criterion", criterion, "--out", tmp_path / "out"]
    told = resprune_json(capsys, "prune", given / "net.keras", *argv)
    assert "savings" in told["solution"] and "steps" not in told["solution"]


def test_pruning_at_once_tells_what_was_lost(given, tmp_path, capsys):
    argv = ["prune", given / "net.keras", "--data", given / "data.npz"]
    argv += ["--epochs", 0, "--target", "units=1", "--protect", "unit1"]
    argv += ["--allow-guessing"]  # the net has hardly been trained
    told = resprune_json(capsys, *argv, "--out", tmp_path / "a")
    assert set(told["removed"]) == {"unit2", "unit3"}
    assert "validation accuracy" in told["after"]
    first, last = told["rounds"]
    assert first["kept"] == {"unit1": "it is protected"}
    assert set(first["scores"]) == {"unit2", "unit3"}
    for line, at in ((first, "before"), (last, "after")):
        count = int(line["correct"]["validation"], 16).bit_count()
        assert count == round(6 * told[at]["validation accuracy"])
    accuracies = iter([0.9, 0.9, 0.4])  # of a batch, before and after

    def measured(*arguments):
        return {**really_measured(*arguments), "accuracy": next(accuracies)}

    really_measured = measuring.evaluate
    with mock.patch("resprune_cli.work.measuring.evaluate", measured):
        argv += ["--criterion", "random", "--tolerance", 0.1]
        code, out, err = resprune(capsys, *argv, "--out", tmp_path / "b")
    assert code == 1 and "from 0.9 to 0.4, by more than --tolerance 0.1" in err
    assert "The pruned model: The accuracy is 40.00%, and guessing" in out
    assert (tmp_path / "b" / "pruned.keras").exists()


def test_pruning_to_a_latency(given, tmp_path, capsys, monkeypatch):
    """A busy machine is mentioned beside every latency."""
    calls = fake_latencies(
        monkeypatch, lambda net: 1.0 + len(find_units(net)), load=0.5
    )
    argv = ["prune", given / "net.keras", "--epochs", 0, "--criterion", "random"]
    argv += ["--target", "latency=0.8", "--runtime", "litert", "--runtime-batch", 2]
    code, out, err = resprune(capsys, *argv, "--out", tmp_path)
    assert code == 0 and busy_note(0.5) in out, err
    told = json.loads((tmp_path / "summary.json").read_text())
    assert len(told["removed"]) == 1
    measured = told["solution"]["measures"]
    assert (measured["latency_ratio"], measured["machine_load"]) == (0.75, 0.5)
    assert {(runtime, batch) for runtime, _, batch, _ in calls} == {("litert", 2)}


def test_pruning_to_a_latency_that_a_command_measures(given, tmp_path, capsys):
    script = tmp_path / "my tools" / "measure.py"
    script.parent.mkdir()
    script.write_text(
        "import os, sys\nprint('pushed')\n"
        "print(os.path.getsize(sys.argv[2]) / 1e3, flush=True)\n"
        "print(17, file=sys.stderr)\n"
    )
    command = f"'{sys.executable}' '{script}' --device"
    argv = ["prune", given / "net.keras", "--epochs", 0, "--criterion", "random"]
    argv += ["--target", "latency=0.9", "--runtime", "litert"]
    argv += ["--out", tmp_path / "out", "--latency-command"]
    told = resprune_json(capsys, *argv, command)
    recorded = told["solution"]["target"]["latency_fn"]
    assert recorded.endswith("/my tools/measure.py' --device")
    assert told["solution"]["measures"]["latency_ratio"] <= 0.9 and told["removed"]
    for code, message in (
        ("print('3 ms')", "must be the time of one call.* standard output:\n3 ms\n"),
        ("", r"standard output:\n\(nothing\)\nIts standard error:\n\(nothing\)"),
        ("print(0)", "a positive number.\nIts standard output:\n0"),
        (
            "sys.exit('phone: No space left on device')",
            "exit status 1 for .*tflite.\n.*\nphone: No space left on device",
        ),
    ):
        script.write_text(f"import sys\n{code}\n")
        exit_code, _, err = resprune(capsys, *argv, command)
        assert exit_code == 1 and re.search(message, err, re.DOTALL), err
        assert "--latency-command" in err
    script.chmod(0o755)
    for start in ("", "#!/bin/sh\r\n"):
        script.write_text(f"{start}echo 3")
        code, _, err = resprune(
            capsys, *argv, f"'{script}'", "--out", tmp_path / "other"
        )
        assert code == 1 and "A script needs a first line such as #!/bin/sh" in err


def test_importances_of_a_model_are_its_scores(net, tmp_path, capsys):
    scaled = add_importance(net)
    for unit, value in (("unit1", 0.5), ("unit2", -0.1), ("unit3", 0.9)):
        scaled.get_layer(f"{unit}_importance").importance.assign(value)
    scaled.save(tmp_path / "net.keras")
    told = resprune_json(
        capsys,
        *["prune", tmp_path / "net.keras", "--epochs", 0, "--criterion", "importance"],
        *["--target", "units=2", "--out", tmp_path],
    )
    assert told["removed"] == ["unit2"]
    pruned = keras.saving.load_model(tmp_path / "pruned.keras")
    assert {type(layer).__module__.split(".")[0] for layer in pruned.layers} == {
        "keras"
    }
    images = images_of_data()
    np.testing.assert_array_equal(
        outputs(pruned, images), outputs(remove_units(scaled, "unit2"), images)
    )


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--target", "layers=1"], 1, "cannot be reached: .* leaves 2 layers"),
        (
            ["--target", "layers=3", "--protect", "x"],
            2,
            "no such unit. Give one of these: unit1,",
        ),
        (["--target", "layers=3", "--criterion", "importance"], 2, "trained factors"),
    ],
)
def test_what_cannot_be_pruned(options, code, message, given, tmp_path, capsys):
    argv = ["--data", given / "data.npz", "--epochs", 0, "--out", tmp_path]
    argv += ["--allow-guessing"]
    found, _, err = resprune(capsys, "prune", given / "net.keras", *argv, *options)
    assert found == code
    assert re.search(message, err)
    assert not (tmp_path / "pruned.keras").exists()


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_target_that_is_met_already_ends_well(given, net, epochs, tmp_path, capsys):
    argv = ["prune", given / "net.keras", "--data", given / "data.npz"]
    argv += ["--epochs", epochs, "--allow-guessing", "--out", tmp_path / "out"]
    argv += ["--criterion", "random"] * epochs  # scored before the target is looked at
    for _ in range(2):  # the same command may be repeated
        code, out, err = resprune(capsys, *argv, "--target", "layers=9")
        assert code == 0, err
        assert "Already met: The target (9 layers) requires no removal" in out
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (told["removed"], told["failure"]) == ([], None)
    assert told["already_met"].startswith("The target (9 layers)")
    assert told["before"] == told["after"]
    pruned = keras.saving.load_model(tmp_path / "out" / "pruned.keras")
    images = images_of_data()
    np.testing.assert_array_equal(outputs(pruned, images), outputs(net, images))


def test_a_latency_that_is_met_already_ends_well(given, tmp_path, capsys, monkeypatch):
    """Even where the smallest model was measured to be slower, by chance."""
    fake_latencies(monkeypatch, lambda net: 9.0 - len(find_units(net)), load=0.5)
    argv = ["prune", given / "net.keras", "--epochs", 0, "--criterion", "random"]
    argv += ["--runtime", "tflite", "--target", "latency=7ms", "--out", tmp_path]
    told = resprune_json(capsys, *argv)
    assert "6 ms on litert" in told["already_met"] and told["removed"] == []


def test_a_latency_that_a_target_limits_is_shown():
    line = {"units": [], "removed": [], "measured": {"latency_ms": 4.0}}
    last = {"round": 1, **line, "measured": {"latency_ms": 3.0}}
    summary = {
        **{"rounds": [{"round": 0, **line}, last], "final": {"selected_round": 1}},
        **{"before": {"layers": 8}, "after": {"layers": 5}, "removed": ["a"]},
        **{"report": None, "written": "pruned.keras"},
    }
    pruning._add_latencies(summary)
    assert summary["after"] == {"layers": 5, "latency_ms": 3.0}
    rows = [line.split() for line in pruning._lines(summary)]
    assert ["latency_ms", "4.000", "3.000", "0.750"] in rows
    assert ["layers", "8", "5", "0.625"] in rows


def test_the_usual_tolerance_is_one_standard_error(
    bright, tmp_path, capsys, monkeypatch
):
    """Of an accuracy of 1 on 6 examples: one of them."""
    argv = ["prune", *bright, "--epochs", 1, "--target", "units=1"]
    argv += ["--criterion", "random", "--out", tmp_path / "out"]
    code, out, err = resprune(capsys, *argv)
    assert code == 0, err
    assert "6 validation examples, one is 16.7 percentage points; accepted" in out
    assert "NOTE: The model classifies 100.00% of the validation examples" in out
    assert out.count("NOTE:") == 2
    divided = "NOTE: The validation examples were taken from the training examples."
    assert divided in out and "Give other examples as x_val and y_val." in out
    final = json.loads((tmp_path / "out" / "final.json").read_text())
    assert final["tolerance"] == pytest.approx(1 / 6)
    assert "is at most 16.7 percentage points below round 0" in out
    # If the request was not met, the last message repeats where the examples are from.
    monkeypatch.setattr(retraining, "failure", lambda *_: "No model is good.")
    code, out, err = resprune(capsys, *argv)
    assert code == 1 and "good. The validation examples were taken from" in err


def test_factors_that_diverge_name_what_to_lower(bright, capsys):
    argv = ["scores", *bright, "--criteria", "l1_importance", "--l1-learning-rate"]
    told = resprune_json(capsys, *argv, "0.001")
    assert list(told["scores"]) == ["l1_importance"]
    bad = mock.patch(
        "resprune_tf.criteria.sparsity._shrink", lambda values, by: values * np.nan
    )
    with bad:
        code, _, err = resprune(capsys, *argv[:-1])
    assert code == 2 and "--l1-learning-rate 0.01" in err


def test_a_model_without_units_has_nothing_to_remove(tmp_path, capsys):
    net_of((4,), layers.Dense(2)).save(tmp_path / "net.keras")
    argv = ["--epochs", 0, "--criterion", "random", "--target", "units=1"]
    code, _, err = resprune(
        capsys, "prune", tmp_path / "net.keras", *argv, "--out", tmp_path
    )
    assert code == 2 and "There is nothing to remove" in err


# prune, with retraining


def retrained(given, out, *options):
    """A command line that removes a unit and trains an epoch before and after."""
    argv = ["prune", given / "net.keras", "--data", given / "data.npz", "--epochs", 1]
    argv += ["--allow-guessing"]  # the net has hardly been trained
    return [*argv, "--target", "units=2", "--tolerance", 0.9, "--out", out, *options]


def test_retraining_stops_when_asked_and_goes_on(given, tmp_path, capsys):
    argv = retrained(given, tmp_path, "--learning-rate", 0.01, "--schedule", "cosine")
    argv += ["--criterion", "importance"]
    code, out, _ = resprune(capsys, *argv, "--minutes", 1e-6)
    assert code == 3
    assert "the time budget is used up. The same command continues the run." in out
    assert not (tmp_path / "pruned.keras").exists()
    code, out, err = resprune(capsys, *argv)
    assert (code, besides_progress(err)) == (0, [])
    assert "round 1: 4 layers" in out and "target reached" in out
    told = json.loads((tmp_path / "summary.json").read_text())
    assert (told["before"]["units"], told["after"]["units"]) == (3, 2)
    accuracies = [told[at]["validation accuracy"] for at in ("round_0", "after")]
    assert accuracies == [line["validation_accuracy"] for line in told["rounds"]]
    *_, size, legend, paired, written, report = out.splitlines()
    assert size.startswith("exported_keras_bytes")
    assert "--target size=... refers to this" in legend
    assert re.fullmatch(
        r"Validation: \d examples newly wrong, \d newly right of 6: p = .* \(McNemar.*",
        paired,
    )
    assert written == f"Written: {tmp_path / 'pruned.keras'}"
    assert report == f"Report: {tmp_path / 'report.html'}"
    pruned = keras.saving.load_model(tmp_path / "pruned.keras", compile=False)
    rounds = keras.saving.load_model(tmp_path / "models" / "round-01.keras")
    assert importances(rounds) and not importances(pruned)
    images = images_of_data()
    np.testing.assert_array_equal(outputs(pruned, images), outputs(rounds, images))
    flags = (tmp_path / "flags.txt").read_text()
    assert flags.startswith("resprune prune ") and "--schedule cosine" in flags
    code, out, err = resprune(capsys, *argv, "--seed", 1)
    assert code == 2 and "contains a run with --seed 0. Received: --seed 1." in err
    assert not out  # said before any work
    code, _, err = resprune(capsys, *argv, "--augment", "flip")
    assert code == 2 and "contains a run with other settings" in err
    argv[argv.index("cosine")] = "constant"
    code, out, err = resprune(capsys, *argv)
    assert code == 2 and "a run with --schedule cosine" in err and not out


@pytest.mark.parametrize("kind", [RuntimeFailed, Failed])
@pytest.mark.parametrize("stopped", [True, False])
def test_ctrl_c_while_a_latency_is_measured(stopped, kind, given, tmp_path, capsys):
    """It also ends the process that measures, which is an error without a stop."""

    def measure(*_, **__):
        if stopped:
            os.kill(os.getpid(), signal.SIGINT)
        raise kind("KeyboardInterrupt")

    with mock.patch("resprune_tf.prune_and_retrain", measure):
        code, out, err = resprune(capsys, *retrained(given, tmp_path))
    again = "Stopped: SIGINT received. The same command continues the run."
    assert (code, again in out) == ((130, True) if stopped else (1, False)), err
    assert stopped or "KeyboardInterrupt" in err


def test_a_finished_run_is_judged_anew_by_another_tolerance(given, tmp_path, capsys):
    """Without training: each round's model is the file that it was."""
    argv = retrained(given, tmp_path, "--criterion", "random")
    place = argv.index("--tolerance") + 1
    worse = mock.patch.object(
        Plan,
        "accepts",
        lambda plan, record, rounds: record.round == 0 or plan.removal.tolerance > 0.5,
    )
    with worse:
        argv[place] = 0
        code, _, err = resprune(capsys, *argv)
        assert (
            code == 1 and "a larger --tolerance to select again among the rounds" in err
        )
        assert not (tmp_path / "pruned.keras").exists()
        rounds = (tmp_path / "rounds.jsonl").read_text()
        argv[place] = 0.9
        told = resprune_json(capsys, *argv)
    assert told["final"]["tolerance"] == 0.9 and told["failure"] is None
    assert len(told["removed"]) == 1
    assert (tmp_path / "rounds.jsonl").read_text() == rounds
    assert (tmp_path / "pruned.keras").exists()
    assert "--tolerance 0.9" in (tmp_path / "flags.txt").read_text()


def test_regression_is_watched_by_its_loss(tmp_path, capsys):
    image = keras.Input((4,))
    x = layers.Add(name="unit_add")([image, layers.Dense(4, name="dense")(image)])
    net = keras.Model(image, layers.Dense(1, name="out")(x))
    randomise(net)
    net.save(tmp_path / "net.keras")
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    data = write_npz(tmp_path / "data.npz", x=x, y=x.sum(1))
    argv = ["prune", tmp_path / "net.keras", "--data", data, "--epochs", 1]
    argv += ["--target", "layers=1", "--tolerance", 99, "--out", tmp_path / "out"]
    code, _, err = resprune(capsys, *argv)
    assert code == 2 and "Give --loss" in err
    told = resprune_json(capsys, *argv, "--loss", "mean_squared_error")
    assert told["removed"] == ["unit"]
    assert "validation loss" in told["after"]
    # The model came without an optimizer, so it leaves without one.
    assert not keras.saving.load_model(tmp_path / "out" / "pruned.keras").compiled


def made_result(*accuracies, selected=0, stop_reason="it is over", met=True):
    """A result whose rounds have these accuracies on held-out examples."""
    rounds = tuple(
        Round(
            **dict.fromkeys(["layers", "parameters", "macs", "epochs"], 0),
            **dict.fromkeys(["removed", "units"], ()),
            **dict.fromkeys(["importances", "scores", "train", "test"], {}),
            round=number,
            validation={"accuracy": accuracy},
            seconds=0.0,
            model=f"models/round-{number:02}.keras",
        )
        for number, accuracy in enumerate(accuracies)
    )
    final = {"mode": "max", "stop_reason": stop_reason, "target_reached": met}
    return PruningResult(None, rounds, rounds[selected], final)


@pytest.mark.parametrize(
    "result, messages",
    [
        (made_result(0.9, 0.91, selected=1), None),
        (
            made_result(0.9, 0.8),
            [
                "No pruned model has a metric within the tolerance, and none is",
                "meets the target is out/models/round-01.keras",
                "from 90.00% to 80.00%",
            ],
        ),
        (
            made_result(0.9, 0.91, 0.8, selected=1),
            [
                "smallest model within the tolerance is written",
                "out/models/round-02.keras",
            ],
        ),
        (
            made_result(0.9, 0.91, selected=1, met=False),
            [
                "No model that meets the target has a metric within the tolerance",
                "--epochs",
            ],
        ),
    ],
)
def test_what_is_no_success_says_why_and_what_may_help(result, messages):
    args = argparse.Namespace(out=pathlib.Path("out"))
    found = retraining.failure(result, Target(units=2), "accuracy", args)
    assert (found is None) is (messages is None)
    assert all(message in found for message in messages or ())


def test_without_a_target_any_shorter_model_that_held_will_do():
    result = made_result(0.9, 0.91, 0.8, selected=1, met=False)
    assert retraining.failure(result, None, "accuracy", argparse.Namespace()) is None


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_model_that_guesses_is_pruned_only_if_that_is_allowed(
    bright, epochs, tmp_path, capsys
):
    argv = ["prune", *bright, "--epochs", epochs, "--criterion", "random"]
    argv += ["--target", "units=1", "--tolerance", 0.9, "--out", tmp_path / "out"]
    code, _, err = resprune(capsys, *argv, "--pixels", "unit")
    assert code == 2
    assert "guessing gives 1 in 3" in err and "--allow-guessing" in err
    assert not (tmp_path / "out").exists()
    code, out, err = resprune(capsys, *argv, "--pixels", "unit", "--allow-guessing")
    assert code == 0 and "guessing gives 1 in 3" in out, err


def test_scores_of_a_model_that_guesses_come_with_a_doubt(bright, capsys):
    """Also the scores that `inspect` tells on data, by all criteria."""
    wrong = [*bright, "--pixels", "unit"]
    told = resprune_json(capsys, "inspect", "--scores", *wrong)["scores"]
    assert {"taylor", "cka", "random"} <= set(told["scores"])
    trains = "`resprune prune --criterion importance` trains."
    assert told["omitted"]["importance"].endswith(trains)
    assert "guessing" in told["doubt"]
    told = resprune_json(capsys, "scores", *wrong, "--criteria", "random")
    assert "guessing" in told["doubt"]
    told = resprune_json(capsys, "scores", *bright, "--criteria", "random")
    assert told["doubt"] is None


# compare, export


def test_compare_measures_both(given, net, tmp_path, capsys):
    eager(remove_units(net, "unit2")).save(tmp_path / "b.keras")
    argv = ["compare", given / "net.keras", tmp_path / "b.keras", "--runtime", "none"]
    told = resprune_json(capsys, *argv, "--data", given / "data.npz")
    assert (told["a"]["layers"], told["b"]["layers"]) == (5, 4)
    assert told["ratios"]["layers"] == 0.8
    assert {"validation loss", "validation accuracy"} <= set(told["b"])
    assert told["outputs"]["count"] == 6 and "agreement" in told["outputs"]
    paired, name = told["paired"], "validation accuracy"
    gained = paired["newly_right"] - paired["newly_wrong"]
    assert gained == round(6 * (told["b"][name] - told["a"][name]))
    assert paired["examples"] == 6 and 0 < paired["p"] <= 1
    assert "B instead of A: 4 examples newly wrong, 0 newly right of 9: p" in table(
        {**told, "paired": {"newly_wrong": 4, "newly_right": 0, "p": 1, "examples": 9}}
    )
    code, out, _ = resprune(capsys, *argv)
    assert code == 0 and "Outputs on 8 inputs of noise differ by" in out
    assert "newly" not in out


def test_compare_tells_other_shapes(given, tmp_path, capsys):
    net_of((4,), layers.Dense(2)).save(tmp_path / "b.keras")
    argv = ["compare", given / "net.keras", tmp_path / "b.keras", "--runtime", "none"]
    code, out, _ = resprune(capsys, *argv)
    assert code == 0 and "Outputs cannot be compared" in out


def regression_net(loss="mean_squared_error", metrics=("mae",)):
    net = net_of((8, 8, 1), layers.Flatten(), layers.Dense(3))
    net.compile("sgd", loss, metrics=[*metrics], run_eagerly=True)
    return net


def test_compare_of_what_measures_other_things(given, tmp_path, capsys):
    regression_net().save(tmp_path / "b.keras")
    images, labels = examples()
    rows = write_npz(tmp_path / "rows.npz", x=images, y=np.eye(3)[labels])
    argv = ["compare", given / "net.keras", tmp_path / "b.keras", "--runtime", "none"]
    code, out, err = resprune(capsys, *argv, "--data", rows)
    assert code == 0, err
    lines = {" ".join(line.split()[:2]): line.split() for line in out.splitlines()}
    assert lines["validation accuracy"][2].endswith("%")
    assert lines["validation accuracy"][3] == "-" == lines["validation mae"][2]
    assert "losses differ: sparse_categorical_crossentropy and mean_sq" in out
    assert "the predicted class" not in out and "newly" not in out


@pytest.mark.parametrize("whole", [True, False])
def test_a_regression_has_no_classes(whole, tmp_path, capsys):
    """By the loss that a model was compiled with; else by the labels."""
    net = regression_net() if whole else regression_net("categorical_crossentropy", ())
    images, labels = examples()
    rows = np.eye(3)[labels] if whole else np.linspace(0, 1, 180).reshape(60, 3)
    data = write_npz(tmp_path / "rows.npz", x=images, y=rows)
    net.save(tmp_path / "net.keras")
    argv = ["compare", *[tmp_path / "net.keras"] * 2, "--runtime", "none"]
    told = resprune_json(capsys, *argv, "--data", data)
    assert told["outputs"]["max_abs_difference"] == 0
    assert "agreement" not in told["outputs"]


def test_compare_reads_data_once_for_models_that_take_the_same(given, capsys):
    argv = ["compare", *[given / "net.keras"] * 2, "--runtime", "none"]
    with mock.patch.object(data_source, "read", wraps=data_source.read) as read:
        resprune_json(capsys, *argv, "--data", given / "data.npz")
    assert read.call_count == 1


def test_compare_tells_of_blocks_and_opens_them(tmp_path, capsys):
    blocks = net_of((4,), Block(name="block"), layers.Dense(2, name="end"))
    blocks.save(tmp_path / "blocks.keras")
    net_of((4,), layers.Dense(2)).save(tmp_path / "plain.keras")
    argv = ["compare", tmp_path / "blocks.keras", tmp_path / "plain.keras"]
    argv += ["--runtime", "none", "--import", "tests.made.cli"]
    code, out, _ = resprune(capsys, *argv)
    assert (
        code == 0 and f"Not searched for residual units in A, {argv[1]}: block." in out
    )
    told = resprune_json(capsys, *argv)
    assert (told["a"]["units"], told["closed"]) == (0, [["block"], []])
    told = resprune_json(capsys, *argv, "--expand")
    assert (told["a"]["units"], told["closed"]) == (1, [[], []])


def test_export_writes_what_runs(given, tmp_path, capsys, in_this_process):
    argv = ["export", given / "net.keras", "--formats", "keras", "--out", tmp_path]
    told = resprune_json(capsys, *argv, "--data", given / "data.npz")
    (made,) = told["files"]
    assert made["path"] == str(tmp_path / "model.keras")
    assert made["agreement"] == 1.0 and made["max_abs_difference"] < 1e-5
    argv[argv.index("keras")] = "keras,nothing"
    code, _, err = resprune(capsys, *argv)
    assert code == 2 and "no format 'nothing'" in err


# As a program


def test_as_a_program(given, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    ran = subprocess.run(
        [sys.executable, "-m", "resprune_cli", "inspect", given / "net.keras"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, besides_progress(ran.stderr)) == (0, [])
    assert ran.stderr.startswith("Starting Keras ...\n")
    assert ran.stdout.startswith("'plain': 3 residual units, 3 removable.")
