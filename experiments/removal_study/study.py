"""The parts of the study of one model, and its record.

A part is a function that adds its results to the record of a `Study`. The record is
written after every part, and in long parts after every group of sets, so that an
interrupted study continues from there.
"""

import dataclasses
import itertools
import math
import time
import typing

import numpy as np

from experiments.pages import manifest
from experiments.removal_study.methods import key
from experiments.removal_study.removals import Removals
from resprune_tf import criteria
from resprune_tf.criteria.registry import NAMES
from resprune_tf.data.augment import RandomCropFlip
from resprune_tf.graph.cost import cost
from resprune_tf.runs.environment import environment
from resprune_tf.targets.greedy import greedy_search
from resprune_tf.units.finding import scored_units

ALL, SOME = "test_images", "subset_images"
# `largest` is the opposite of `importance`.
_COMPARED = tuple(name for name in NAMES if name != "largest")
# This criterion trains, so it is too slow to be repeated on other images.
_ONCE = ("l1_importance",)
# Numbers of removed units that are measured on all test images.
REPORTED = (1, 3, 5, 8)
_GROUP = 64  # sets that are measured between two writings of the record


@dataclasses.dataclass(frozen=True)
class Settings:
    """Amounts of data and of sets.

    Attributes:
        seed: seed of every random choice.
        scored_on: training images for the scores, and as many others for a repetition.
        fewer: smaller numbers of images on which criteria are compared.
        recalibrated_on: augmented training images for recalibration.
        recalibration_sizes: numbers of images for which recalibration is compared.
        draws: draws of images for each of these numbers.
        most: largest number of units removed at once.
        random: random sets per number of units, or all sets if there are fewer.
        subset_images: number of the first test images, on which all sets are measured.
    """

    seed: int = 0
    scored_on: int = 1024
    fewer: tuple = (64, 256)
    recalibrated_on: int = 2048
    recalibration_sizes: tuple = (256, 512, 1024, 2048)
    draws: int = 3
    most: int = 8
    random: int = 100
    subset_images: int = 2000

    def to_dict(self):
        """The settings as JSON values."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


class Study:
    """One model and its measurements so far.

    Args:
        model: a functional `keras.Model` from pixels to logits.
        dataset: `Dataset`.
        settings: `Settings`.
        fill: pixel values of the padding in augmentation.
        record: dict of earlier measurements; it is changed in place.
        path: path of its file.
    """

    def __init__(self, model, dataset, settings, fill, record, path):
        self.model, self.dataset, self.settings = model, dataset, settings
        self.fill, self.record, self.path = fill, record, path
        self.removals = Removals(model)
        self.units = range(len(self.removals.units))
        self.most = min(settings.most, len(self.units) - 1)
        order = np.random.default_rng(settings.seed).permutation(len(dataset.train))
        self._order = order
        self.calibration = self.augmented(settings.recalibrated_on, settings.seed)

    def run(self):
        """Runs all parts that are not in the record, or lack a new criterion."""
        facts = self.record["environment"] = environment()
        parts = self.record.setdefault("parts", {})
        if added := self._unscored():
            # Noted in the record, so that a call that is stopped here continues.
            for name in parts.keys() & set(_OF_CRITERIA):
                parts[name]["lacks"] = added
            self.save()
        for name, part in PARTS.items():
            before = parts.get(name)
            if before and "lacks" not in before:
                continue
            begun, cpu = time.monotonic(), time.process_time()
            started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            new = f" ({', '.join(before['lacks'])})" if before else ""
            print(f"{self.model.name}: {name}{new} ...", flush=True)
            part(self)
            parts[name] = {
                "started": started,
                "seconds": round(time.monotonic() - begun, 1),
                "processor_seconds": round(time.process_time() - cpu, 1),
                "commit": facts.get("commit"),
            }
            if before:
                parts[name]["before"] = {
                    k: v for k, v in before.items() if k != "lacks"
                }
            self.save()
            done = f"{parts[name]['seconds']:.0f} s, {len(parts)} of {len(PARTS)} parts"
            print(f"{self.model.name}: {name} done: {done}", flush=True)

    def _unscored(self):
        """Names of the criteria that were registered after the scores were recorded."""
        if "scores" not in self.record.get("parts", {}):
            return []
        known = self.record["scores"][f"{self.settings.scored_on} images, draw 0"]
        scaled = any(unit.importance for unit in scored_units(self.model))
        return [
            name
            for name in self.criteria(self.settings.scored_on, 0)
            if name not in known and (scaled or name != "importance")
        ]

    def save(self):
        """Writes the record."""
        manifest.write_record(self.path, self.record)

    def scoring_images(self, count, draw=0):
        """Training images for the scores, float32, and labels; draws share no image."""
        start = draw * self.settings.scored_on
        rows = self._order[start : start + count]
        train = self.dataset.train
        return train.images[rows].astype("float32"), train.labels[rows]

    def calibration_images(self, count, seed):
        """Training images without augmentation, uint8."""
        rows = np.random.default_rng([1, seed]).permutation(len(self.dataset.train))
        return self.dataset.train.images[np.sort(rows[:count])]

    def augmented(self, count, seed):
        """The `calibration_images`, shifted and mirrored as in training."""
        augment = RandomCropFlip(
            self.dataset.crop_padding, self.dataset.flip, self.fill, seed
        )
        images = self.calibration_images(count, seed)
        return np.asarray(augment(images, training=True))

    def criteria(self, count, draw):
        """The criteria by name, on `count` images of a draw of training images."""
        images, labels = self.scoring_images(count, draw)
        options = {"batch_size": min(128, count), "seed": self.settings.seed}
        found = {
            name: criteria.make(name, images, labels, **options)
            for name in _COMPARED
            if name != "random"
        }
        found["leave_one_out, recalibrated"] = criteria.make(
            "leave_one_out", images, labels, recalibrate=True, **options
        )
        return found

    def measure(self, sets, which):
        """Measures accuracy and loss without each set of units, unless recorded.

        Args:
            sets: frozensets of indices of units.
            which: `ALL` test images, or `SOME` of them.
        """
        known = self.record.setdefault(which, {})
        count = None if which == ALL else self.settings.subset_images
        images = self.dataset.test.images[:count]
        labels = self.dataset.test.labels[:count]
        sets = [each for each in dict.fromkeys(sets) if key(each) not in known]
        # Sets with the same first units are adjacent: shared parts are computed once.
        sets.sort(key=lambda each: [index in each for index in self.units])
        begun = time.monotonic()
        for start in range(0, len(sets), _GROUP):
            group = sets[start : start + _GROUP]
            plain = self.removals.measure(group, images, labels)
            self.removals.recalibrate(group, self.calibration)
            again = self.removals.measure(group, images, labels, recalibrated=True)
            for each in group:
                known[key(each)] = {
                    "plain": summary(plain[each]),
                    "recalibrated": summary(again[each]),
                }
            self.save()
            done = start + len(group)
            left = (time.monotonic() - begun) * (len(sets) - done) / done / 60
            print(f"  {done} of {len(sets)} sets, {left:.0f} min left", flush=True)


def summary(judged):
    """Accuracy and mean loss of one set, from the result of `Removals.measure`."""
    correct, losses = judged
    return [round(float(correct.mean()), 6), round(float(losses.mean()), 6)]


def _network(study):
    counted = cost(study.model)
    study.record["network"] = {
        "units": study.removals.units,
        "layers": counted.layers,
        "macs": counted.macs,
        "parameters": counted.parameters,
        "test_images": len(study.dataset.test),
    }
    study.measure([frozenset()], ALL)
    accuracy = study.record[ALL][""]["plain"][0]
    published = study.record.get("published_accuracy", accuracy)
    if abs(accuracy - published) > 5e-4:
        raise ValueError(
            f"{study.model.name} classifies {accuracy:.2%} of the test images "
            f"correctly, but {published:.2%} were published or recorded: the weights "
            "or images are different. Check --pretrained and --data_dir."
        )


def _scores(study):
    """Scores by criterion, on the images that select units."""
    _score(study, study.settings.scored_on, 0)


def _draws(study):
    """Scores on other images and on fewer images."""
    for count in (study.settings.scored_on, *study.settings.fewer):
        for draw in (0, 1):
            _score(study, count, draw, without=_ONCE)


def _score(study, count, draw, without=()):
    found = study.record.setdefault("scores", {})
    own = found.setdefault(f"{count} images, draw {draw}", {})
    for name, criterion in study.criteria(count, draw).items():
        if name in own or name in without:
            continue
        begun, cpu = time.monotonic(), time.process_time()
        scores = criterion(study.model)
        if not scores:  # a model without ω
            continue
        own[name] = {
            "scores": [scores[unit] for unit in study.removals.units],
            "seconds": round(time.monotonic() - begun, 2),
            "processor_seconds": round(time.process_time() - cpu, 2),
        }
        study.save()
        print(f"  {name}, {count} images: {own[name]['seconds']:.0f} s", flush=True)


def _single(study):
    study.measure([frozenset([index]) for index in study.units], ALL)


def _orders(study):
    """The order of the units by each criterion, and the model without them."""
    scores = study.record["scores"][f"{study.settings.scored_on} images, draw 0"]
    orders = {
        name: np.argsort(found["scores"], kind="stable").tolist()
        for name, found in scores.items()
    }
    _measure_orders(study, list(orders.values()))
    study.record["orders"] = orders  # all of them are measured


def _measure_orders(study, orders):
    counts = range(study.most + 1)
    study.measure([frozenset(o[:c]) for o in orders for c in counts], SOME)
    reported = [count for count in REPORTED if count <= study.most]
    study.measure([frozenset(o[:c]) for o in orders for c in reported], ALL)


def _greedy(study):
    """Orders of greedy search, with and without recalibration after each removal."""
    found = study.record.setdefault("greedy", {})
    images, labels = study.scoring_images(study.settings.scored_on)
    for name, kind in itertools.product(
        ("block_influence", "leave_one_out"), ("plain", "recalibrated")
    ):
        if kind in found.setdefault(name, {}):
            continue
        again = study.calibration if kind == "recalibrated" else None
        if name == "block_influence":
            criterion = criteria.block_influence(images)
        else:
            recalibrate = kind == "recalibrated"
            criterion = leave_one_out(study.removals, images, labels, recalibrate)
        begun, cpu = time.monotonic(), time.process_time()
        search = greedy_search(
            study.model, criterion, count=study.most, images=again, on_step=_print_step
        )
        found[name][kind] = {
            "order": [study.removals.units.index(unit) for unit in search.units],
            "scores": [step.score for step in search.steps],
            "seconds": round(time.monotonic() - begun, 2),
            "processor_seconds": round(time.process_time() - cpu, 2),
        }
        study.save()
    _measure_orders(
        study, [own["order"] for kinds in found.values() for own in kinds.values()]
    )


def _print_step(step):
    print(f"  greedy: {step.unit} (score {step.score:.4g})", flush=True)


def leave_one_out(removals, images, labels, recalibrate=False):
    """`criteria.leave_one_out`, with the shared parts of its sets computed once.

    Args:
        removals: `Removals` of a model. The criterion scores this model and its pruned
            versions.
        images, labels, recalibrate: as in `criteria.leave_one_out`.
    """

    def criterion(model):
        left = [removals.units.index(unit.name) for unit in scored_units(model)]
        removed = frozenset(range(len(removals.units))).difference(left)
        sets = [removed, *(removed | {index} for index in left)]
        if recalibrate:
            removals.recalibrate(sets, images)
        judged = removals.measure(sets, images, labels, recalibrate)
        whole, *losses = (float(judged[units][1].mean()) for units in sets)
        pairs = zip(left, losses, strict=True)
        return {removals.units[index]: loss - whole for index, loss in pairs}

    return criterion


def _random(study):
    """Random sets of units, without the empty set."""
    rng = np.random.default_rng([2, study.settings.seed])
    drawn = {
        count: _draw(rng, len(study.units), count, study.settings.random)
        for count in range(1, study.most + 1)
    }
    study.record["random"] = {
        str(count): [key(each) for each in sets] for count, sets in drawn.items()
    }
    study.measure(itertools.chain(*drawn.values()), SOME)


def _draw(rng, units, count, most):
    """Different sets of `count` units: all of them, or `most` random ones."""
    if math.comb(units, count) <= most:
        return [frozenset(s) for s in itertools.combinations(range(units), count)]
    found = {}
    while len(found) < most:
        found[frozenset(rng.permutation(units)[:count].tolist())] = None
    return list(found)


def _recalibration(study):
    """Accuracy after recalibration, by number and kind of its images."""
    found = study.record["recalibration"] = []
    images = study.dataset.test.images[: study.settings.subset_images]
    labels = study.dataset.test.labels[: study.settings.subset_images]
    order = study.record["orders"]["block_influence"]
    for units in sorted({min(3, study.most), min(5, study.most)}):
        removed = frozenset(order[:units])
        for size, draw, kind in itertools.product(
            study.settings.recalibration_sizes,
            range(study.settings.draws),
            ("augmented", "clean"),
        ):
            take = study.augmented if kind == "augmented" else study.calibration_images
            study.removals.recalibrate([removed], take(size, 100 + draw))
            judged = study.removals.measure([removed], images, labels, True)
            accuracy, loss = summary(judged[removed])
            found.append(
                {
                    "units": units,
                    "images": size,
                    "kind": kind,
                    "draw": draw,
                    "accuracy": accuracy,
                    "loss": loss,
                }
            )


PARTS: dict[str, typing.Callable] = {
    "network": _network,
    "scores": _scores,
    "single units": _single,
    "orders": _orders,
    "random sets": _random,
    "greedy search": _greedy,
    "recalibration": _recalibration,
    "other images": _draws,
}
# They go on where they were: what is recorded is not measured again.
_OF_CRITERIA = ("scores", "orders", "other images")
