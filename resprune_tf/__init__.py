"""Shorter residual networks in Keras: learn, delete, retrain, export."""

from resprune_tf import criteria, travel
from resprune_tf.architecture import Architecture, UnitId
from resprune_tf.beside import Beside, export_beside
from resprune_tf.callbacks import RunInterrupted, TrainingDiverged
from resprune_tf.cloning import CloneError
from resprune_tf.comparison import compare_scores
from resprune_tf.compilation import compile_like
from resprune_tf.cost import Cost, cost
from resprune_tf.data import load_dataset
from resprune_tf.dataset import Dataset, Split
from resprune_tf.deletion import DeletionRound, LayerDeletion, fit_with_deletion
from resprune_tf.diagram import draw_units
from resprune_tf.disk import DiskFullError
from resprune_tf.distillation import Guidance
from resprune_tf.expansion import expand
from resprune_tf.export import Exported, ExportError, check_formats, export
from resprune_tf.fit_data import FitData
from resprune_tf.fit_recipe import FitRecipe
from resprune_tf.folding import fold
from resprune_tf.imagenet_files import load_imagenet
from resprune_tf.importance import ImportanceScale
from resprune_tf.insertion import add_importance, importances
from resprune_tf.latency import Latency, latencies, latency
from resprune_tf.loop import PruningResult, prune_and_retrain
from resprune_tf.memory import keep_memory
from resprune_tf.merges import register_merge, register_unit
from resprune_tf.precision import native_precision
from resprune_tf.readers import DataError
from resprune_tf.recipe import Recipe
from resprune_tf.records import Round
from resprune_tf.removal import drop_branches, remove_units
from resprune_tf.resizing import with_input_shape
from resprune_tf.resnet import build_resnet, resnet50, resnet56
from resprune_tf.runtime_latency import runtime_latencies
from resprune_tf.score_table import ScoreTable
from resprune_tf.selection import Target
from resprune_tf.solution import Achievable, Solution
from resprune_tf.strategy import Strategy, training_strategy
from resprune_tf.streamed import StreamedSplit
from resprune_tf.targets import achievable, solve_target
from resprune_tf.training import make_repeatable
from resprune_tf.transfer import load_weights
from resprune_tf.units import Unit, Units, find_units
from resprune_tf.whole_files import RunDirectoryError

__all__ = [
    "Achievable",
    "Architecture",
    "Beside",
    "CloneError",
    "Cost",
    "DataError",
    "Dataset",
    "DeletionRound",
    "DiskFullError",
    "ExportError",
    "Exported",
    "FitData",
    "FitRecipe",
    "Guidance",
    "ImportanceScale",
    "Latency",
    "LayerDeletion",
    "PruningResult",
    "Recipe",
    "Round",
    "RunDirectoryError",
    "RunInterrupted",
    "ScoreTable",
    "Solution",
    "Split",
    "Strategy",
    "StreamedSplit",
    "Target",
    "TrainingDiverged",
    "Unit",
    "UnitId",
    "Units",
    "achievable",
    "add_importance",
    "build_resnet",
    "check_formats",
    "compare_scores",
    "compile_like",
    "cost",
    "criteria",
    "draw_units",
    "drop_branches",
    "expand",
    "export",
    "export_beside",
    "find_units",
    "fit_with_deletion",
    "fold",
    "importances",
    "keep_memory",
    "latencies",
    "latency",
    "load_dataset",
    "load_imagenet",
    "load_weights",
    "make_repeatable",
    "native_precision",
    "prune_and_retrain",
    "register_merge",
    "register_unit",
    "remove_units",
    "resnet50",
    "resnet56",
    "runtime_latencies",
    "solve_target",
    "training_strategy",
    "travel",
    "with_input_shape",
]
