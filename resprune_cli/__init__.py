"""The command line `resprune`: depth pruning of residual networks without Python code.

It is a package of its own, because importing `resprune_tf` imports TensorFlow, which
takes seconds. Help and errors about arguments do not need TensorFlow: `commands` and
`options` import the library only inside the functions that run a command.
"""
