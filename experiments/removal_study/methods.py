"""What the record of a network says of each method of choosing units. Pure Python."""

import dataclasses
import math

KINDS = ("plain", "recalibrated")
FULL = ()


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and its record.

    Attributes:
        name: of its file.
        record: dict.
    """

    name: str
    record: dict

    @property
    def title(self):
        """Such as `"ResNet-20"`."""
        if self.name == "efficientnet-lite0":
            return "EfficientNet-Lite0"
        return self.name.replace("resnet", "ResNet-")

    @property
    def settings(self):
        """With how much of what it was measured."""
        return self.record["settings"]

    @property
    def units(self):
        """Names of the removable units."""
        return self.record["network"]["units"]

    @property
    def most(self):
        """How many units were removed at once, at most."""
        return max(map(int, self.record["random"]))

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
        """The units that a method removes; None if its measurement is not finished."""
        name = method.removeprefix("greedy ")
        if method == name:
            return self.record["orders"][name][:count]
        order = self.record["greedy"][name].get(kind, {}).get("order", ())[:count]
        known = order and _key(order) in self.record["subset_images"]
        return order if known else None

    def on_all(self, units):
        """Whether the network without units was measured on all test images."""
        return _key(units) in self.record["test_images"]

    def accuracy(self, units, kind, some=False):
        """Test accuracy without units, on all or on some of the images."""
        return self._measured(units, kind, some)[0]

    def loss(self, units, kind):
        """Mean cross entropy on all test images."""
        return self._measured(units, kind, False)[1]

    def _measured(self, units, kind, some):
        known = self.record["test_images"]
        if some and _key(units) in self.record["subset_images"]:
            known = self.record["subset_images"]
        return known[_key(units)][kind]

    def random_accuracies(self, count, kind):
        """Accuracies without each random set, on some of the images."""
        known = self.record["subset_images"]
        return [known[each][kind][0] for each in self.record["random"][str(count)]]

    def possible(self, count):
        """How many sets of so many units there are."""
        return math.comb(len(self.units), count)

    def gains(self, count):
        """By how many points recalibration raises the accuracy, for each criterion."""
        sets = [order[:count] for order in self.record["orders"].values()]
        pairs = [[self.accuracy(s, kind, True) for kind in KINDS] for s in sets]
        return [100 * (again - plain) for plain, again in pairs]

    def scores(self):
        """Scores of all units by criterion, on the images that chose."""
        own = self.record["scores"][f"{self.settings['scored_on']} images, draw 0"]
        return {name: found["scores"] for name, found in own.items()}

    def draws(self, name, size):
        """Scores of a criterion on two draws of images; empty where there are none."""
        found = [
            self.record["scores"].get(f"{size} images, draw {draw}", {}).get(name)
            for draw in (0, 1)
        ]
        return [each["scores"] for each in found] if all(found) else []


def random_set_rank(network, method, count, kind):
    """Percentile of a method's choice among random sets; None if it cannot be said.

    Args:
        network: `Network`.
        method: one of its methods.
        count: how many units are removed.
        kind: one of `KINDS`.
    """
    units = network.chosen(method, count, kind)
    others = network.random_accuracies(count, kind)
    if units is None or len(others) < 2:
        return None
    own = network.accuracy(units, kind, some=True)
    below = sum(other < own for other in others)
    return 100 * (below + sum(other == own for other in others) / 2) / len(others)


def _key(units):
    return "+".join(map(str, sorted(units)))
