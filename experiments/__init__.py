"""Experiments: flags -> library -> records -> tables, figures and reports."""

import errno
import sys


def _in_one_sentence(kind, error, traceback):
    """Prints an error that ends a command: one sentence if the disk is full."""
    of_disk = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # Importing the library starts Keras; code that only reads records avoids that.
    if of_disk or "resprune_tf.system.disk" in sys.modules:
        from resprune_tf.system.disk import full_disk

        if full := full_disk(error):
            print(f"error: {full}", file=sys.stderr)
            return
    sys.__excepthook__(kind, error, traceback)


sys.excepthook = _in_one_sentence
