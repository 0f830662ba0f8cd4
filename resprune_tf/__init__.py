"""Depth pruning (layer pruning) of residual networks in Keras 3.

The package finds the residual units of any functional Keras model, scores them, removes
the least important ones, retrains the smaller model and exports it. It runs on
TensorFlow and JAX. It implements *Network Implosion* (Ida and Fujiwara, IJCNN 2019,
<https://arxiv.org/abs/1906.03826>): each removable unit learns a scalar importance ω,
`x + ω·F(x)`, and the unit with the smallest |ω| is removed first.

>>> import resprune_tf as rp
>>> model = rp.resnet56(num_classes=10)
>>> print(rp.find_units(model))
>>> smaller = rp.remove_units(model, ["stage1_unit3", "stage2_unit5"])

Main entry points:

- Find and remove units: `find_units`, `expand` for blocks written as layers,
  `remove_units`, `drop_branches`.
- Score units: `add_importance` and `importances` for ω, `resprune_tf.criteria` for the
  other criteria, `compare_scores`.
- Meet a budget: `Target`, `achievable`, `solve_target`, `greedy_search`; `cost` and
  `latency` measure a model.
- Prune and retrain: `prune_and_retrain` does everything; with your own call of `fit`,
  use `fit_with_deletion` or the callback `LayerDeletion`. `recalibrate` repairs the
  statistics of BatchNormalization after a removal.
- Deploy: `fold`, `export`.

No function changes the model that it is given, except those that train it or say so.
"""

from resprune_tf import criteria
from resprune_tf.criteria.comparison import compare_scores
from resprune_tf.criteria.score_table import ScoreTable
from resprune_tf.data.augment import random_crop_flip
from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.data.fit_data import FitData
from resprune_tf.data.imagenet_files import load_imagenet
from resprune_tf.data.loading import load_dataset
from resprune_tf.data.readers import DataError
from resprune_tf.data.streamed import StreamedSplit
from resprune_tf.deploy.export import Exported, ExportError, check_formats, export
from resprune_tf.deploy.folding import fold
from resprune_tf.deploy.latency import Latency, latencies, latency
from resprune_tf.deploy.pair import ExportedPair, export_pair
from resprune_tf.deploy.runtime_latency import runtime_latencies
from resprune_tf.graph.cloning import CloneError
from resprune_tf.graph.compilation import compile_like
from resprune_tf.graph.cost import Cost, cost
from resprune_tf.graph.resizing import with_input_shape
from resprune_tf.graph.transfer import load_weights
from resprune_tf.nets.architecture import Architecture, UnitId
from resprune_tf.nets.importance import ImportanceScale
from resprune_tf.nets.resnet import build_resnet, resnet50, resnet56
from resprune_tf.pruning.deletion import LayerDeletion
from resprune_tf.pruning.fit_loop import DeletionRound, fit_with_deletion
from resprune_tf.pruning.loop import PruningResult, prune_and_retrain
from resprune_tf.pruning.options import Removal, RunOptions
from resprune_tf.pruning.record_model import load_record_model
from resprune_tf.report.writing import write_report
from resprune_tf.runs.callbacks import RunInterrupted, TrainingDiverged
from resprune_tf.runs.records import Round
from resprune_tf.runs.state_file import pack_run, unpack_run
from resprune_tf.system.disk import DiskFullError
from resprune_tf.system.memory import keep_memory
from resprune_tf.system.precision import native_precision
from resprune_tf.system.whole_files import RunDirectoryError
from resprune_tf.targets.greedy import GreedyResult, GreedyStep, greedy_search
from resprune_tf.targets.solution import Achievable, Solution
from resprune_tf.targets.solving import achievable, solve_target
from resprune_tf.targets.target import Target
from resprune_tf.training.distillation import Guidance
from resprune_tf.training.fit_recipe import FitRecipe
from resprune_tf.training.recalibration import recalibrate
from resprune_tf.training.recipe import Recipe
from resprune_tf.training.strategy import Strategy, training_strategy
from resprune_tf.training.trainer import make_repeatable
from resprune_tf.units.diagram import draw_units
from resprune_tf.units.expansion import expand
from resprune_tf.units.finding import Unit, Units, find_units
from resprune_tf.units.importances import add_importance, importances
from resprune_tf.units.merges import register_merge, register_unit
from resprune_tf.units.removal import drop_branches, remove_units

__version__ = "0.2.0"

__all__ = [
    "Achievable",
    "Architecture",
    "CloneError",
    "Cost",
    "DataError",
    "Dataset",
    "DeletionRound",
    "DiskFullError",
    "ExportError",
    "Exported",
    "ExportedPair",
    "FitData",
    "FitRecipe",
    "GreedyResult",
    "GreedyStep",
    "Guidance",
    "ImportanceScale",
    "Latency",
    "LayerDeletion",
    "PruningResult",
    "Recipe",
    "Removal",
    "Round",
    "RunDirectoryError",
    "RunInterrupted",
    "RunOptions",
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
    "export_pair",
    "find_units",
    "fit_with_deletion",
    "fold",
    "greedy_search",
    "importances",
    "keep_memory",
    "latencies",
    "latency",
    "load_dataset",
    "load_imagenet",
    "load_record_model",
    "load_weights",
    "make_repeatable",
    "native_precision",
    "pack_run",
    "prune_and_retrain",
    "random_crop_flip",
    "recalibrate",
    "register_merge",
    "register_unit",
    "remove_units",
    "resnet50",
    "resnet56",
    "runtime_latencies",
    "solve_target",
    "training_strategy",
    "unpack_run",
    "with_input_shape",
    "write_report",
]
