"""The command line `resprune`: shorter residual networks for people without Python.

Beside the package `resprune_tf`, not in it: importing that starts TensorFlow, for
which a question for help or a wrong argument need not wait. Modules named `*_command`,
and those they import at the top, know arguments only; what reads models is imported
behind their `run`.
"""
