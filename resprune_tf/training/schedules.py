"""Schedules of the learning rate by name. To add one, write a function and list it.

Pure Python, so that a command can list them before anything else is imported.
"""

import math


def step(recipe, epoch):
    """Ten times smaller from each of the recipe's milestones on, as in the paper."""
    return 0.1 ** sum(epoch + 1 >= milestone for milestone in recipe.milestones)


def cosine(recipe, epoch):
    """Half a cosine to 0; Loshchilov and Hutter, arXiv:1608.03983."""
    return (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2


def linear(recipe, epoch):
    """A line to 0; Li et al., Budgeted Training, arXiv:1905.04753."""
    return 1 - epoch / recipe.epochs


def constant(recipe, epoch):
    """No change."""
    return 1.0


def warmup_linear(recipe, epoch):
    """A line up over the first tenth and a line down to 0, in every step.

    The usual schedule to train a trained model further; Devlin et al., BERT,
    arXiv:1810.04805. Momenta begin at 0 in every retraining, so the first steps of a
    full rate would do harm.
    """
    done = epoch / recipe.epochs
    return min(done / WARMUP, (1 - done) / (1 - WARMUP))


# The share of a training in which the rate of `warmup_linear` rises.
WARMUP = 0.1
# Each from a `Recipe` and an epoch, counted from 0, to a factor of the learning rate.
SCHEDULES = {
    "step": step,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "warmup_linear": warmup_linear,
}
# Those that change the rate in every step, others from epoch to epoch.
PER_STEP = ("warmup_linear",)
