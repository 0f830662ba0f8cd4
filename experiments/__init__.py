"""Experiments: flags -> library -> records -> tables, figures and reports."""

import errno
import sys


def _in_one_sentence(kind, error, traceback):
    """Prints the error that ends a command; for a full disk one sentence."""
    of_disk = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # The library starts Keras, which code that only reads records does not need.
    if of_disk or "resprune_tf.system.disk" in sys.modules:
        from resprune_tf.system.disk import full_disk

        if full := full_disk(error):
            print(f"error: {full}", file=sys.stderr)
            return
    sys.__excepthook__(kind, error, traceback)


sys.excepthook = _in_one_sentence
