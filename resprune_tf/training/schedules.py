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


# Each from a `Recipe` and an epoch, counted from 0, to a factor of the initial rate.
SCHEDULES = {"step": step, "cosine": cosine, "linear": linear}
