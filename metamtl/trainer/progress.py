"""What a person sees while a run trains: a bar on a terminal, a plain line now and then elsewhere.

The lines go to the run's log too, on a terminal as elsewhere: who was not there reads how the run went.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from metamtl.runs.units import short

LINE_SECONDS = 10.0  # between two plain lines
_logger = logging.getLogger(__name__)


class Display:
    """Progress of one run; silent on processes other than the first."""

    def __init__(self, title: str, total: int, done: int, visible: bool) -> None:
        self.visible, self.title, self.total = visible, title, total
        self.console = Console(file=sys.stderr, highlight=False)
        self._bar: Progress | None = None
        self._last_line, self._started, self._first = time.monotonic(), time.monotonic(), done
        if visible and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total, completed=done, figures="")

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, done: int, figures: Mapping[str, float], tasks_per_second: float) -> None:
        """After an update: the latest figures."""
        if not self.visible:
            return
        text = "  ".join([*(f"{name} {short(name, value)}" for name, value in figures.items())])
        text += f"  {tasks_per_second:.0f} tasks/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=text)
        if time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            line = f"step {done}/{self.total}  {text}  {self._remaining(done)} left"
            _logger.info(line)
            if self._bar is None:
                self.console.print(line, soft_wrap=True)

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line that stays, such as a validation's figures; `level` is what the log calls it."""
        if self.visible:
            _logger.log(level, text)
            self.console.print(text, soft_wrap=True)

    def _remaining(self, done: int) -> str:
        seconds = (time.monotonic() - self._started) / max(1, done - self._first) * (self.total - done)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
