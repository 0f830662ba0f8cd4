"""Holds a run directory until it is killed, in the middle of writing a file."""

import os
import sys
import time

from resprune_tf.runs.records import RunDirectory

if __name__ == "__main__":
    with RunDirectory(sys.argv[1]) as run:
        (run.path / f".writing-{os.getpid()}-half").touch()
        print("held", flush=True)
        time.sleep(600)
