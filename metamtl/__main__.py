"""`python -m metamtl`, and so `torchrun -m metamtl`."""

from __future__ import annotations

import sys

from metamtl.cli import main

if __name__ == "__main__":
    sys.exit(main())
