"""Removal without training: what is measured, continued and written."""

import json

import numpy as np
import pytest

import resprune_tf as rp
from experiments.pages.results import RECORDS
from experiments.removal_study import page, recorded, study
from experiments.removal_study.methods import Network, random_set_rank
from experiments.removal_study.public_models import build_resnet, read_model
from experiments.removal_study.removals import Removals
from resprune_tf import Dataset, Split, criteria
from resprune_tf.training.recalibration import recalibrate
from tests.conftest import outputs
from tests.made.pages import cells, words

pytestmark = pytest.mark.slow

SETTINGS = study.Settings(
    scored_on=24,
    fewer=(8,),
    recalibrated_on=32,
    recalibration_sizes=(8, 16),
    draws=2,
    most=2,
    random=4,
    subset_images=20,
)


def split(count, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 8, 8, 3)).astype("uint8")
    return Split(images, rng.integers(0, 10, count).astype("int32"))


@pytest.fixture(scope="module")
def dataset():
    splits = [split(count, seed) for seed, count in enumerate((80, 8, 40))]
    names, mean, std = tuple("abcdefghij"), (120.0,) * 3, (60.0,) * 3
    return Dataset("made", *splits, names, mean, std, True, 1, "made")


@pytest.fixture(scope="module")
def model(dataset):
    net = build_resnet("tiny", 2, (4, 8, 16), 8)
    return recalibrate(net, dataset.train.images.astype("float32"))


def loss_of(net, images, labels):
    logits = outputs(net, images).astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(labels)), labels]
    return np.log(np.exp(logits).sum(axis=1)) - own


def test_sets_are_measured_as_if_they_were_removed(model, dataset):
    removals = Removals(model)
    assert removals.units == [u.name for u in rp.find_units(model) if u.removable]
    sets = [frozenset(s) for s in ((), (0,), (1, 2), (1, 3), (0, 1, 2, 3))]
    images = dataset.test.images.astype("float32")
    labels, again = dataset.test.labels, images[:30]
    plain = removals.measure(sets, images, labels)
    removals.recalibrate(sets, again, batch_size=20)
    recalibrated = removals.measure(sets, images, labels, recalibrated=True)
    for units in sets:
        names = [removals.units[index] for index in units]
        net = rp.remove_units(model, names) if names else model
        for found, expected in (
            (plain, net),
            (recalibrated, recalibrate(net, again, batch_size=20)),
        ):
            correct, losses = found[units]
            np.testing.assert_allclose(
                losses, loss_of(expected, images, labels), rtol=1e-4, atol=1e-5
            )
            classes = outputs(expected, images).argmax(axis=1)
            np.testing.assert_array_equal(correct, classes == labels)
    assert abs(plain[sets[1]][1] - recalibrated[sets[1]][1]).max() > 1e-3


def test_leave_one_out_is_that_of_the_library(model, dataset):
    images, labels = dataset.train.images[:24].astype("float32"), dataset.train.labels
    own = study.leave_one_out(Removals(model), images, labels[:24], recalibrate=True)
    library = criteria.leave_one_out(images, labels[:24], recalibrate=True)
    for net in (model, rp.remove_units(model, "stage1_unit2")):
        assert own(net) == pytest.approx(library(net), abs=1e-5)


class Interrupted(study.Study):
    """A study with quick criteria, and one that can be interrupted."""

    def criteria(self, count, draw):
        def scores(start):
            return lambda model: {
                unit: float((start + place * 3 + draw) % 5)
                for place, unit in enumerate(self.removals.units)
            }

        return {"block_influence": scores(2), "taylor": scores(count)}


@pytest.fixture(scope="module")
def record(model, dataset, tmp_path_factory):
    """What a study leaves that was interrupted among the random sets."""
    path = tmp_path_factory.mktemp("records") / page.FOLDER / "resnet20.json"
    path.parent.mkdir()
    begun = {"settings": SETTINGS.to_dict(), "command": "python -m mine"}
    measure = Interrupted.measure

    def stops(self, sets, which):
        if "random" in self.record:
            raise KeyboardInterrupt
        measure(self, sets, which)

    with pytest.MonkeyPatch.context() as patch:
        # The real one is slow, and tested alone.
        patch.setattr(study, "leave_one_out", lambda *images: criteria.random(3))
        patch.setattr(Interrupted, "measure", stops)
        with pytest.raises(KeyboardInterrupt):
            Interrupted(model, dataset, SETTINGS, 0.0, begun, path).run()
        patch.setattr(Interrupted, "measure", measure)
        kept = json.loads(path.read_text())
        assert list(kept["parts"]) == ["network", "scores", "single units", "orders"]
        Interrupted(model, dataset, SETTINGS, 0.0, kept, path).run()
    return path


class Extended(Interrupted):
    """A study after two more criteria were registered, one of which scores no unit."""

    def criteria(self, count, draw):
        def reverse(model):
            names = reversed(self.removals.units)
            return {name: float(place) for place, name in enumerate(names)}

        found = super().criteria(count, draw)
        return {**found, "reverse": reverse, "importance": lambda model: {}}


def test_a_criterion_that_is_registered_later_is_added(
    record, model, dataset, capsys, tmp_path
):
    before = json.loads(record.read_text())
    path = tmp_path / "extended.json"
    Extended(model, dataset, SETTINGS, 0.0, json.loads(record.read_text()), path).run()
    after = json.loads(path.read_text())
    assert "scores (reverse) ..." in capsys.readouterr().out
    assert after["orders"] == {**before["orders"], "reverse": [3, 2, 1, 0]}
    for draw, own in after["scores"].items():
        assert own["reverse"]
        assert {**own, **before["scores"][draw]} == own  # the others are unchanged
    assert all(
        own == after["subset_images"][k] for k, own in before["subset_images"].items()
    )
    assert after["parts"]["orders"]["before"] == before["parts"]["orders"]
    assert after["parts"]["random sets"] == before["parts"]["random sets"]
    Extended(model, dataset, SETTINGS, 0.0, json.loads(path.read_text()), path).run()
    assert capsys.readouterr().out == ""  # nothing is left to measure


def test_an_added_criterion_survives_a_stop(
    record, model, dataset, monkeypatch, tmp_path
):
    def stop(study):
        raise KeyboardInterrupt

    path = tmp_path / "stopped.json"
    begun = json.loads(record.read_text())
    with monkeypatch.context() as patch:
        patch.setitem(study.PARTS, "orders", stop)
        with pytest.raises(KeyboardInterrupt):
            Extended(model, dataset, SETTINGS, 0.0, begun, path).run()
    stopped = json.loads(path.read_text())
    # Pages show it when its choices are measured.
    assert "reverse" not in Network("stopped", stopped).scores()
    Extended(model, dataset, SETTINGS, 0.0, stopped, path).run()
    after = json.loads(path.read_text())
    assert "reverse" in after["orders"]
    assert all(own["reverse"] for own in after["scores"].values())
    assert not any("lacks" in part for part in after["parts"].values())
    assert "reverse" in Network("stopped", after).scores()


def test_a_study_continues_where_it_was(record, model, dataset, capsys):
    found = json.loads(record.read_text())
    assert list(found["parts"]) == list(study.PARTS)
    assert {count: len(sets) for count, sets in found["random"].items()} == {
        "1": 4,
        "2": 4,
    }
    assert found["orders"]["block_influence"] == [1, 3, 0, 2]  # of 2, 0, 3, 1
    for kinds in found["greedy"].values():
        assert all(len(own["order"]) == 2 for own in kinds.values())
    before = record.read_text()
    Interrupted(model, dataset, SETTINGS, 0.0, found, record).run()
    assert capsys.readouterr().out == "" and record.read_text() == before


def test_the_page_says_what_the_record_says(record):
    found = json.loads(record.read_text())
    result = page.make(record.parent.parent)
    text = result.text
    assert "## ResNet-20" in text and "`python -m mine`" in text
    assert "resnet32: not run: command 1" in text
    for name in page.NETS[1:]:
        assert f"--net={name} --data_dir=DATA`" in text
    row = cells(text.split("by the number of removed units:")[1], "taylor")
    (unit, *_) = found["orders"]["taylor"]
    accuracy = 100 * found["test_images"][str(unit)]["recalibrated"][0]
    assert row[2].startswith(f"{accuracy:.1f} (")
    assert text.count("## How many images scores need") == 1
    assert cells(text.split("## Time")[1], "taylor")[1].isdigit()
    assert {"ResNet-20", "recalibrated", "greedy leave_one_out"} <= set(
        words(result.drawings["removal_study.svg"])
    )


def test_a_study_without_random_sets_is_shown(record, tmp_path):
    found = json.loads(record.read_text())
    del found["random"], found["parts"]["random sets"]
    (tmp_path / page.FOLDER).mkdir()
    (tmp_path / page.FOLDER / "resnet20.json").write_text(json.dumps(found))
    result = page.make(tmp_path)
    assert "Random sets: not measured yet." in result.text
    row = cells(result.text.split("by the number of removed units:")[1], "taylor")
    (unit, *_) = found["orders"]["taylor"]
    accuracy = 100 * found["test_images"][str(unit)]["recalibrated"][0]
    assert row[2] == f"{accuracy:.1f}"  # without a percentile
    assert "In short" not in result.text
    assert "random sets, 90 %" not in words(result.drawings["removal_study.svg"])


def test_a_model_of_a_run_is_named_after_it(record, tmp_path):
    found = json.loads(record.read_text())
    found |= {"run": "cifar10/mine-seed0", "published_accuracy": 0.5}
    (tmp_path / page.FOLDER).mkdir()
    (tmp_path / page.FOLDER / "mine-seed0.json").write_text(json.dumps(found))
    text = page.make(tmp_path).text
    assert "## ResNet-14 of mine-seed0" in text and "50.00 % recorded" in text
    assert "- *ResNet-56 of NAME*, for example, is the initial model of a run" in text


def test_the_initial_model_of_a_record():
    name = "digits/small-seed0"
    model, dataset, accuracy = recorded.read(RECORDS / name, None)
    found = outputs(model, dataset.test.images.astype("float32")).argmax(axis=1)
    assert (found == dataset.test.labels).mean() == pytest.approx(accuracy, abs=0.006)


def test_a_rank_among_random_sets():
    measured = {"plain": [0.5, 1.0]}, {"plain": [0.7, 1.0]}, {"plain": [0.9, 1.0]}
    sets = dict(zip(("0", "1", "2"), measured, strict=True))
    network = Network(
        "mine",
        {
            "orders": {"taylor": [1], "cka": [2]},
            "subset_images": sets,
            "test_images": sets,
            "random": {"1": ["0", "1", "2"]},
            "parts": {"random sets": {}},
        },
    )
    assert random_set_rank(network, "taylor", 1, "plain") == 50
    assert random_set_rank(network, "cka", 1, "plain") == pytest.approx(100 * 2.5 / 3)


def test_without_records_there_is_no_page(tmp_path):
    assert page.make(tmp_path) is None


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no file .*resnet20.npz"):
        read_model("resnet20", tmp_path)
    np.savez(tmp_path / "resnet20.npz", **{"conv1.weight": np.zeros((16, 3, 3, 3))})
    with pytest.raises(ValueError, match="has no arrays .* for bn1"):
        read_model("resnet20", tmp_path)


def test_a_network_may_be_without_a_greedy_search_so_far():
    record = {"orders": {"cka": ["a", "b"]}, "subset_images": {}}
    network = Network("resnet32", record)
    assert network.chosen("greedy cka", 1, "plain") is None
    assert network.chosen("cka", 1, "plain") == ["a"]
