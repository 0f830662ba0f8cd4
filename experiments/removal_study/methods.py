"""The results of each method of selecting units in a record. No TensorFlow."""

import dataclasses
import math
import re
import statistics

import numpy as np
from scipy import stats

KINDS = ("plain", "recalibrated")
FULL = ()  # no unit is removed
# What the removal of a unit costs on all test images; a record states the accuracy and
# the mean cross entropy in this order.
HARMS = ("accuracy lost", "cross entropy gained")
_RESAMPLES = 2000
_FEWEST = 5  # units of a bootstrap interval


@dataclasses.dataclass(frozen=True)
class Network:
    """A model and its record.

    Attributes:
        name: name of its record without extension, such as `"resnet20"`.
        record: dict of JSON values.
    """

    name: str
    record: dict

    @property
    def title(self):
        """Such as `"ResNet-20"`, or `"ResNet-56 of c10-k2-quarter-seed0"`."""
        if "run" in self.record:
            return f"ResNet-{self.record['network']['layers']} of {self.name}"
        if self.name == "efficientnet-lite0":
            return "EfficientNet-Lite0"
        return self.name.replace("resnet", "ResNet-")

    @property
    def run(self):
        """The name of the model without its seed, such as `"c10-r29"`."""
        return re.sub(r"-seed\d+$", "", self.name)

    @property
    def family(self):
        """The title without the seed, such as `"ResNet-29 of demo"`."""
        return re.sub(r"-seed\d+$", "", self.title)

    @property
    def settings(self):
        """The settings of the measurement; see `study.Settings`."""
        return self.record["settings"]

    @property
    def units(self):
        """Names of the removable units."""
        return self.record["network"]["units"]

    @property
    def most(self):
        """The largest number of units that were removed at once."""
        return min(self.settings["most"], len(self.units) - 1)

    @property
    def reported(self):
        """Numbers of removed units that were measured on all test images."""
        orders = self.record["orders"].values()
        return [
            count
            for count in range(1, self.most + 1)
            if all(self.on_all(order[:count]) for order in orders)
        ]

    @property
    def methods(self):
        """Names of the methods, criteria first."""
        greedy = (f"greedy {name}" for name in self.record.get("greedy", ()))
        return [*self.record["orders"], *greedy]

    def chosen(self, method, count, kind):
        """The units that a method removes; None if not measured completely."""
        name = method.removeprefix("greedy ")
        if method == name:
            order = self.record["orders"].get(name)  # only some models have ω
            return None if order is None else order[:count]
        searched = self.record.get("greedy", {}).get(name, {})  # may not be run yet
        order = searched.get(kind, {}).get("order", ())[:count]
        known = order and key(order) in self.record["subset_images"]
        return order if known else None

    def on_all(self, units):
        """Whether the model without `units` was measured on all test images."""
        return key(units) in self.record["test_images"]

    def accuracy(self, units, kind, some=False):
        """Test accuracy without `units`, on all images or on the subset (`some`)."""
        return self._measured(units, kind, some)[0]

    def harms(self, kind, what):
        """What the removal of each unit costs; `what` is one of `HARMS`."""
        place = HARMS.index(what)
        sign = (-1, 1)[place]
        full, *found = (
            sign * self._measured(units, kind, False)[place]
            for units in (FULL, *([unit] for unit in range(len(self.units))))
        )
        return [each - full for each in found]

    def _measured(self, units, kind, some):
        known = self.record["test_images"]
        if some and key(units) in self.record["subset_images"]:
            known = self.record["subset_images"]
        return known[key(units)][kind]

    def random_accuracies(self, count, kind):
        """Accuracies without each of the random sets, on the subset of the images.

        Empty as long as not all of them are measured.
        """
        if "random sets" not in self.record["parts"]:
            return []
        known = self.record["subset_images"]
        return [known[each][kind][0] for each in self.record["random"][str(count)]]

    def possible(self, count):
        """The number of sets of `count` units."""
        return math.comb(len(self.units), count)

    def gains(self, count):
        """Gain by recalibration in percentage points, for each criterion."""
        sets = [order[:count] for order in self.record["orders"].values()]
        pairs = [[self.accuracy(s, kind, True) for kind in KINDS] for s in sets]
        return [100 * (again - plain) for plain, again in pairs]

    def scores(self):
        """Scores of all units by criterion, on the images that selected units.

        Without criteria that were added later and whose choices are not measured yet.
        """
        own = self.record["scores"][f"{self.settings['scored_on']} images, draw 0"]
        measured = self.record.get("orders", own)
        return {name: own[name]["scores"] for name in own if name in measured}

    def draws(self, name, size):
        """Scores of a criterion on two draws of images; empty without them."""
        found = [
            self.record["scores"].get(f"{size} images, draw {draw}", {}).get(name)
            for draw in (0, 1)
        ]
        return [each["scores"] for each in found] if all(found) else []


def omega_first(names):
    """Names or labels of methods, with that of |ω| first."""
    return sorted(names, key=lambda name: not name.startswith("importance"))


def label(method):
    """The name of a method on the page."""
    return "importance (|ω|)" if method == "importance" else method


def random_set_rank(network, method, count, kind):
    """Percentile of a method's choice among random sets; None if it is unknown.

    Args:
        network: `Network`.
        method: one of its methods.
        count: number of removed units.
        kind: one of `KINDS`.
    """
    units = network.chosen(method, count, kind)
    others = network.random_accuracies(count, kind)
    if units is None or len(others) < 2:
        return None
    return _rank(network.accuracy(units, kind, some=True), others)


def _rank(own, others):
    """Percentile of a number among others, ties counted half."""
    below = sum(other < own for other in others)
    return 100 * (below + sum(other == own for other in others) / 2) / len(others)


def best_rank(network, kind):
    """Mean percentile of the best random set of each size; NaN if unknown.

    It is below 100, because the set is one of those with which it is compared.
    """
    sizes = range(1, network.most + 1)
    found = [network.random_accuracies(count, kind) for count in sizes]
    if not all(found):
        return math.nan
    return statistics.fmean(_rank(max(others), others) for others in found)


def mean_rank(network, method, kind):
    """Mean of `random_set_rank` over all numbers of removed units; NaN if unknown."""
    counts = range(1, network.most + 1)
    ranks = [random_set_rank(network, method, count, kind) for count in counts]
    return statistics.fmean([r for r in ranks if r is not None] or [math.nan])


def rank_correlation(network, method, kind, what):
    """Spearman's correlation of scores with the harm of removing each unit."""
    scores = network.scores()[method]
    return float(stats.spearmanr(scores, network.harms(kind, what)).statistic)


def key(units):
    """A set of units as text, such as `"0+3"`; the full model is `""`."""
    return "+".join(map(str, sorted(units)))


def correlation(first, second):
    """Spearman's correlation with its 95 % percentile bootstrap interval, as text.

    Args:
        first, second: sequences of numbers, one of each for a unit. Of fewer than five
            units there is no interval: most resamples would contain two or three.
    """
    first, second = np.array(first), np.array(second)
    found = stats.spearmanr(first, second).statistic
    count = len(first)
    if count < _FEWEST:
        return f"{found:+.2f}"
    rows = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
    distinct = 1 + (np.diff(np.sort(rows, axis=1), axis=1) > 0).sum(axis=1)
    rows = rows[distinct > 2]
    resampled = _rank_correlations(first[rows], second[rows])
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return f"{found:+.2f} [{low:+.2f}, {high:+.2f}]"


def _rank_correlations(first, second):
    """Spearman's correlation of each pair of rows; NaN if a row is constant."""
    ranks = [stats.rankdata(each, axis=1) for each in (first, second)]
    a, b = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(spread > 0, (a * b).sum(axis=1) / np.maximum(spread, 1e-9), np.nan)
