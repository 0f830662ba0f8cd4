"""Depth pruning (layer pruning) of residual networks in Keras 3.

The package finds the residual units of any functional Keras model, scores them, removes
the least important ones, retrains the smaller model and exports it. It runs on
TensorFlow and JAX. It implements *Network Implosion* (Ida and Fujiwara, IJCNN 2019,
<https://arxiv.org/abs/1906.03826>): each removable unit learns a scalar importance ω,
`x + ω·F(x)`, and the unit with the smallest |ω| is removed first. Units of other
trained models are scored by their effect on the activations or on the loss.

>>> import resprune_tf as rp
>>> model = keras.saving.load_model("model.keras")
>>> print(rp.find_units(model))
>>> data = rp.FitData(train=(x, y), validation=(x_val, y_val))
>>> removal = rp.Removal(target=rp.Target(macs=0.7), units_per_round="all")
>>> result = rp.prune_and_retrain(
...     model, data, rp.FitRecipe(epochs=5), initial="as_given", removal=removal
... )
>>> rp.export(result.model, "out", ["litert", "onnx"], images=x[:200])

Main entry points:

- Find and remove units: `find_units`, `expand` for blocks written as layers,
  `remove_units`, `drop_branches`.
- Score units: `add_importance` and `importances` for ω, `resprune_tf.criteria` for the
  other criteria, `compare_scores`.
- Meet a budget: `Target`, `achievable`, `solve_target`, `greedy_search`; `cost` and
  `latency` measure a model.
- Prune and retrain: `prune_and_retrain` with `FitData`, `FitRecipe`, `Removal` and
  `RunOptions` does everything; with your own call of `fit`, use `fit_with_deletion` or
  the callback `LayerDeletion`. `recalibrate` repairs the statistics of
  BatchNormalization after a removal. `write_report` writes the report of a run.
- Deploy: `export`, `export_pair`, `runtime_latencies`, `file_outputs`, `fold`.

No function changes the model that it is given, except those that train it or say so.
"""

# `import name as name` marks a name as public, so that no name is listed twice.

import types as _types

from resprune_tf import criteria as criteria
from resprune_tf.criteria.comparison import compare_scores as compare_scores
from resprune_tf.criteria.score_table import ScoreTable as ScoreTable
from resprune_tf.data.augment import random_crop_flip as random_crop_flip
from resprune_tf.data.dataset import Dataset as Dataset
from resprune_tf.data.dataset import Split as Split
from resprune_tf.data.fit_data import FitData as FitData
from resprune_tf.data.imagenet_files import load_imagenet as load_imagenet
from resprune_tf.data.loading import load_dataset as load_dataset
from resprune_tf.data.readers import DataError as DataError
from resprune_tf.data.streamed import StreamedSplit as StreamedSplit
from resprune_tf.deploy.export import Exported as Exported
from resprune_tf.deploy.export import ExportError as ExportError
from resprune_tf.deploy.export import check_formats as check_formats
from resprune_tf.deploy.export import export as export
from resprune_tf.deploy.file_outputs import file_outputs as file_outputs
from resprune_tf.deploy.folding import fold as fold
from resprune_tf.deploy.fresh_process import RuntimeFailed as RuntimeFailed
from resprune_tf.deploy.latency import Latency as Latency
from resprune_tf.deploy.latency import latencies as latencies
from resprune_tf.deploy.latency import latency as latency
from resprune_tf.deploy.pair import ExportedPair as ExportedPair
from resprune_tf.deploy.pair import export_pair as export_pair
from resprune_tf.deploy.runtime_latency import device_latencies as device_latencies
from resprune_tf.deploy.runtime_latency import runtime_latencies as runtime_latencies
from resprune_tf.graph.cloning import CloneError as CloneError
from resprune_tf.graph.compilation import compile_like as compile_like
from resprune_tf.graph.cost import Cost as Cost
from resprune_tf.graph.cost import cost as cost
from resprune_tf.graph.resizing import with_input_shape as with_input_shape
from resprune_tf.graph.transfer import load_weights as load_weights
from resprune_tf.nets.architecture import Architecture as Architecture
from resprune_tf.nets.architecture import UnitId as UnitId
from resprune_tf.nets.importance import ImportanceScale as ImportanceScale
from resprune_tf.nets.resnet import build_resnet as build_resnet
from resprune_tf.nets.resnet import resnet50 as resnet50
from resprune_tf.nets.resnet import resnet56 as resnet56
from resprune_tf.pruning.deletion import LayerDeletion as LayerDeletion
from resprune_tf.pruning.fit_loop import DeletionRound as DeletionRound
from resprune_tf.pruning.fit_loop import fit_with_deletion as fit_with_deletion
from resprune_tf.pruning.loop import PruningResult as PruningResult
from resprune_tf.pruning.loop import prune_and_retrain as prune_and_retrain
from resprune_tf.pruning.options import Removal as Removal
from resprune_tf.pruning.options import RunOptions as RunOptions
from resprune_tf.pruning.record_model import load_record_model as load_record_model
from resprune_tf.report.writing import write_report as write_report
from resprune_tf.runs.callbacks import RunInterrupted as RunInterrupted
from resprune_tf.runs.callbacks import TrainingDiverged as TrainingDiverged
from resprune_tf.runs.records import Round as Round
from resprune_tf.runs.state_file import pack_run as pack_run
from resprune_tf.runs.state_file import unpack_run as unpack_run
from resprune_tf.system.disk import DiskFullError as DiskFullError
from resprune_tf.system.memory import keep_memory as keep_memory
from resprune_tf.system.precision import native_precision as native_precision
from resprune_tf.system.whole_files import RunDirectoryError as RunDirectoryError
from resprune_tf.targets.greedy import GreedyResult as GreedyResult
from resprune_tf.targets.greedy import GreedyStep as GreedyStep
from resprune_tf.targets.greedy import greedy_search as greedy_search
from resprune_tf.targets.solution import Achievable as Achievable
from resprune_tf.targets.solution import Solution as Solution
from resprune_tf.targets.solving import achievable as achievable
from resprune_tf.targets.solving import solve_target as solve_target
from resprune_tf.targets.target import Target as Target
from resprune_tf.targets.target import TargetMet as TargetMet
from resprune_tf.training.distillation import Guidance as Guidance
from resprune_tf.training.fit_recipe import FitRecipe as FitRecipe
from resprune_tf.training.recalibration import recalibrate as recalibrate
from resprune_tf.training.recipe import Recipe as Recipe
from resprune_tf.training.strategy import Strategy as Strategy
from resprune_tf.training.strategy import training_strategy as training_strategy
from resprune_tf.training.trainer import make_repeatable as make_repeatable
from resprune_tf.units.diagram import draw_units as draw_units
from resprune_tf.units.expansion import expand as expand
from resprune_tf.units.finding import Unit as Unit
from resprune_tf.units.finding import Units as Units
from resprune_tf.units.finding import find_units as find_units
from resprune_tf.units.importances import add_importance as add_importance
from resprune_tf.units.importances import importances as importances
from resprune_tf.units.merges import register_merge as register_merge
from resprune_tf.units.merges import register_unit as register_unit
from resprune_tf.units.removal import drop_branches as drop_branches
from resprune_tf.units.removal import remove_units as remove_units

__version__ = "0.2.0"
# For tools that read `__all__` only, such as the generator of the API reference.
__all__ = sorted(
    name
    for name, value in globals().items()
    if not name.startswith("_")
    and (name == "criteria" or not isinstance(value, _types.ModuleType))
)
