"""The paper's numbers, typed in here and nowhere else.

Data sets go by the names of the library. Percentages are what is left of the original
net: 60 means cut to 60 %.
"""

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet2012": "ImageNet"}

# The nets it starts from: units of each stage. They are ResNet-56 and ResNet-50.
INITIAL_UNITS = {
    "cifar10": (6, 6, 6),
    "cifar100": (6, 6, 6),
    "imagenet2012": (3, 4, 6, 3),
}
# Layers of the smallest nets that kept the initial accuracy (Table 1, Figure 3).
SMALLEST_LAYERS = {"cifar10": 32, "cifar100": 35, "imagenet2012": 38}
# The units of these nets. The text of the paper does not tell them. They follow from
# Table 2: of all nets with so many layers, these have its parameters, and MACs that
# agree too; on CIFAR-10 none does, and this one comes nearest.
SMALLEST_UNITS = {
    "cifar10": (1, 5, 4),
    "cifar100": (1, 4, 6),
    "imagenet2012": (2, 2, 5, 3),
}

# Table 2. Times are means of 100 runs on one machine; batch size and runtime untold.
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
# Numbers of Table 2 that no net of the described kind has, and why.
NOT_REPRODUCIBLE = {("cifar10", "macs"), ("cifar10", "parameters")}
NOT_REPRODUCIBLE_BECAUSE = (
    "a removable unit costs the same MACs in every stage, so the number of units lost "
    "fixes the share of MACs; 8 units fewer, from 56 layers to 32, leave less than "
    "printed, 7 leave more. No choice of units has the printed share of parameters"
)

# Table 3 (parameters) and Figure 7 (times of training and testing) compare the original
# nets with the shortened ones. The text gives no number of theirs: only that those of
# the shortened nets are smaller, on all three data sets.

# Accuracy of the net that it starts from, in % (Figure 3); of the others it is drawn.
INITIAL_ACCURACY = {"cifar10": 92.88}
# Figure 4b, 60 epochs a round: the smallest net that held with two units a round, and
# layers and accuracy (%) of one with four.
SMALLEST_BY_TWO = 32
BY_FOUR = (44, 92.84)
# Figure 6: the two modes of ω after training are this far from 0.
MODE = 0.7
