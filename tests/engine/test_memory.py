"""What a step frees stays with the process for the next, in whichever thread it was."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import torch
from metamtl.engine.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults(blocks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.empty(2**24 + 2**23).fill_(1) for _ in range(blocks)]  # of 96 MiB, 24,576 pages
    del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with ThreadPoolExecutor(1) as pool:
    others = [pool.submit(faults, 3).result() for _ in range(20)][16:]  # the first ones grow the heap
print(sum(others))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left as they are")
@pytest.mark.slow
def test_a_workers_blocks_are_not_taken_again_page_by_page() -> None:
    def pages(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert pages("kept") < 24576 < pages("left")
