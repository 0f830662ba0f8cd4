"""Shorter residual networks in Keras: learn, delete, retrain, export."""

from resprune_tf.architecture import Architecture, UnitId
from resprune_tf.importance import ImportanceScale, importances
from resprune_tf.removal import remove_units
from resprune_tf.resnet import build_resnet, resnet50, resnet56
from resprune_tf.units import Unit, find_units

__all__ = [
    "Architecture",
    "ImportanceScale",
    "Unit",
    "UnitId",
    "build_resnet",
    "find_units",
    "importances",
    "remove_units",
    "resnet50",
    "resnet56",
]
