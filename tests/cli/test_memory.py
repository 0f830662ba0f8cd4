"""Memory that the process keeps."""

import subprocess
import sys

import pytest

from resprune_tf import keep_memory
from resprune_tf.system import memory

# A block that is freed and asked for again: how many pages the system had to hand out.
BLOCKS = """
import ctypes, resource, runpy, sys
assert runpy.run_path(sys.argv[1])["keep_memory"]()  # without starting TensorFlow
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def use(size=96 * 2**20):
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(ctypes.c_void_p(block), 1, size)
    libc.free(block)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_blocks_of_an_activation_are_not_given_back():
    if not keep_memory():
        pytest.skip("needs glibc")
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS, memory.__file__],
        capture_output=True,
        text=True,
        check=True,
    )
    # Else 5 times 48 pages of 2 MiB, or 5 times 24,576 of 4 KiB.
    assert int(done.stdout) < 100


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert keep_memory() is False
