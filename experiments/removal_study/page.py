"""The page of the study of removal without training. No TensorFlow."""

COMMAND = "python -m experiments.removal_study"
FOLDER = "removal_study"
NETS = ("resnet20", "resnet32", "resnet44")
