"""Keeping the memory of one step for the next.

glibc returns large blocks to the system as soon as they are freed and takes them back page by page: each step of a
convolutional learner then spends a third of its time and more in page faults (measured: 2.3 s a step against 0.62 s,
ProtoNet, 60-way Omniglot, two cores). Raising two thresholds keeps the blocks in the process; memory stays at the
peak that a step needs anyway.

They serve the main arena alone. Other threads have arenas of their own, of heaps of 64 MiB, and what is larger comes
from the system each time: two workers took 270,000 page faults and 0.6 s of the system's time in a step where one took
24 and none (S5). So all threads share the main arena; they ask it for blocks too rarely to wait for one another.
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)


def keep_freed_memory() -> None:
    """Tells glibc's allocator to keep blocks of up to 1 GiB, and threads yet to come to share its main arena.

    Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    allocator = ctypes.CDLL(None)
    allocator.mallopt(_MMAP_THRESHOLD, 1 << 30)
    allocator.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    allocator.mallopt(_ARENA_MAX, 1)
