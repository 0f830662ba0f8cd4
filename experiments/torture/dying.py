"""Runs a command in a process that can kill itself at a chosen write.

    python -m experiments.torture.dying DEATH MODULE [ARGUMENT ...]

DEATH is `never`, `N:during` (SIGKILL when half of the N-th file is written) or
`N:after` (right after the N-th file is renamed to its place). Training saves its state
after every epoch, however short, so that there are many writes.
"""

import os
import pathlib
import runpy
import signal
import sys


def die_at(number, moment):
    """Replaces `os.replace`, which renames every finished file to its place."""
    replace, count = os.replace, 0

    def dying(source, target, **options):
        nonlocal count
        count += 1
        if count == number and moment == "during":
            source = pathlib.Path(source)
            if source.is_file():
                os.truncate(source, source.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **options)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying


def main():
    death, module, *arguments = sys.argv[1:]
    if death != "never":
        number, moment = death.split(":")
        die_at(int(number), moment)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from experiments.running.quiet import quiet_start

    with quiet_start():
        from resprune_tf.runs import callbacks

    callbacks.SAVING_SHARE = float("inf")
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
