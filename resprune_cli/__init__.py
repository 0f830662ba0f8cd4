"""The command line `resprune`: depth pruning of residual networks without Python code.

It is a package of its own, because importing `resprune_tf` imports TensorFlow, which
takes seconds. Help and refusals of wrong arguments do not need it: `commands` and
`options` import the library only inside the functions that run a command.
"""
