"""Learning rate schedules by name. To add one, add a function and list it below.

This module imports neither Keras nor NumPy, so that commands can list schedules fast.
"""

import math


def step(recipe, epoch):
    """Divided by 10 at each milestone of the recipe, as in the paper."""
    return 0.1 ** sum(epoch + 1 >= milestone for milestone in recipe.milestones)


def cosine(recipe, epoch):
    """Half a cosine down to 0; Loshchilov and Hutter, SGDR, arXiv:1608.03983."""
    return (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2


def linear(recipe, epoch):
    """Linear decay to 0; Li et al., Budgeted Training, arXiv:1905.04753."""
    return 1 - epoch / recipe.epochs


def constant(recipe, epoch):
    """Constant."""
    return 1.0


def warmup_linear(recipe, epoch):
    """Linear warm-up over the first tenth, then linear decay to 0, in every step.

    This is the usual schedule for fine-tuning; Devlin et al., BERT, arXiv:1810.04805.
    The optimizer's state is new in every retraining, so the first steps at the full
    rate would be harmful.
    """
    done = epoch / recipe.epochs
    return min(done / WARMUP, (1 - done) / (1 - WARMUP))


# The share of a training in which the rate of `warmup_linear` increases.
WARMUP = 0.1
# Functions from a `Recipe` and an epoch, from 0, to a factor of the learning rate.
SCHEDULES = {
    "step": step,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "warmup_linear": warmup_linear,
}
# The schedules that need no milestones, which only the paper's `Recipe` has.
WITHOUT_MILESTONES = tuple(name for name in SCHEDULES if name != "step")
# The schedules that change the rate in every step instead of every epoch.
PER_STEP = ("warmup_linear",)
