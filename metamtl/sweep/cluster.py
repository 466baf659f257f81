"""A sweep's work as jobs of a SLURM cluster, by submitit: each job is one more command that goes on with the sweep."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamtl.errors import UsageError

if TYPE_CHECKING:
    from submitit import Job


def require_submitit() -> None:
    """UsageError with the command that installs submitit where it is absent."""
    if importlib.util.find_spec("submitit") is None:
        raise UsageError("sweep.jobs needs submitit: pip install 'metamtl[launchers]'")


def submit(folder: Path, options: Mapping[str, Any]) -> list[Job[None]]:
    """Submits `sweep.jobs` jobs, whose logs go to jobs/ in the sweep's folder; UsageError where the cluster refuses."""
    import submitit

    from metamtl.sweep.run import take_part

    try:
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=options["cluster"])
        executor.update_parameters(**{"name": folder.name, "cpus_per_task": options["workers"], **options["slurm"]})
        return list(executor.map_array(take_part, [folder] * options["jobs"]))
    except (RuntimeError, ValueError, NameError, TypeError, OSError) as error:  # what submitit raises for wrong wishes
        reason = " ".join(str(error).split()).rstrip(".")
        raise UsageError(f"sweep.cluster={options['cluster']}: submitit refuses: {reason}.") from error
