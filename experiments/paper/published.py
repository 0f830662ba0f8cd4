"""All numbers from the paper.

Data sets have the names of the library. Percentages are relative to the original model:
60 means reduced to 60 %.
"""

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet2012": "ImageNet"}

# The original models, ResNet-56 and ResNet-50: units of each stage.
INITIAL_UNITS = {
    "cifar10": (6, 6, 6),
    "cifar100": (6, 6, 6),
    "imagenet2012": (3, 4, 6, 3),
}
# Layers of the smallest models that maintained the accuracy (Table 1, Figure 3).
SMALLEST_LAYERS = {"cifar10": 32, "cifar100": 35, "imagenet2012": 38}
# The units of these models. The text of the paper does not state them. They follow from
# Table 2: of all models with this number of layers, only these have its parameters, and
# their MACs agree. On CIFAR-10 no model does; this one is the nearest.
SMALLEST_UNITS = {
    "cifar10": (1, 5, 4),
    "cifar100": (1, 4, 6),
    "imagenet2012": (2, 2, 5, 3),
}

# Table 2. Times are means of 100 runs; batch size and timed device are unknown.
COSTS = {
    "cifar10": {
        "macs": 60.93,
        "forward": 60.23,
        "backward": 59.71,
        "parameters": 69.82,
    },
    "cifar100": {
        "macs": 62.89,
        "forward": 70.13,
        "backward": 60.44,
        "parameters": 90.50,
    },
    "imagenet2012": {
        "macs": 78.59,
        "forward": 76.69,
        "backward": 78.9,
        "parameters": 93.15,
    },
}
# Why no model of the described kind has the numbers of Table 2 for CIFAR-10;
# `possible.impossible` checks it.
NOT_REPRODUCIBLE_BECAUSE = (
    "a removable unit costs the same MACs in every stage, so the number of removed "
    "units determines the share of MACs; removing 8 units (56 to 32 layers) leaves "
    "less than printed, removing 7 leaves more. No choice of units has the printed "
    "share of parameters"
)

# Table 3 (parameters) and Figure 7 (times of training and testing) compare the original
# with the pruned models. The text gives no numbers: it only states that those of the
# pruned models are smaller, on all three data sets.

# Initial accuracy in % (Figure 3). Those of the other data sets are only plotted.
INITIAL_ACCURACY = {"cifar10": 92.88}
# Figure 4b, 60 epochs per round: the smallest model that maintained the accuracy with
# two units per round, and layers and accuracy (%) of a model with four units per round.
SMALLEST_BY_TWO = 32
BY_FOUR = (44, 92.84)
# Figure 6: the two modes of ω after training are this far from 0.
MODE = 0.7
