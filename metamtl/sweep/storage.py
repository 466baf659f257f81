"""Where a study is kept: a database or a journal file that any number of processes and machines may share."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metamtl.errors import UsageError
from metamtl.runs.redact import HIDDEN, redact_text

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

INSTALL = "pip install 'metamtl[sweep]'"
_SQLITE_WAIT = 60.0  # seconds that a writer waits for the others
_TRIES, _PAUSE = 10, 0.5
_LOST = ("already exists", "duplicate", "unique", "locked")


def require_optuna() -> None:
    """UsageError with the command that installs Optuna where it is absent."""
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(f"metamtl sweep needs Optuna: {INSTALL}")


def open_storage(given: str | None, folder: Path) -> BaseStorage:
    """What `sweep.storage` names, else study.db in the sweep's folder; UsageError where it cannot be opened."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if given and HIDDEN in given:
        raise UsageError(
            "The storage's address holds credentials, which no file keeps: give it again, as sweep.storage=URL."
        )
    try:
        if given and "://" not in given:
            return _journal(Path(given).expanduser())
        return _database(given or _sqlite(folder / "study.db"))
    except Exception as error:  # each database driver has errors of its own
        where = redact_text(given or str(folder / "study.db"))
        said = " ".join(str(error).partition("(Background on this error")[0].split())
        reason = redact_text(said[:300]).rstrip(".") or type(error).__name__
        raise UsageError(f"sweep.storage={where} cannot be opened: {reason}.{_advice(given or '', error)}") from error


def _advice(given: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f" Install its driver: pip install {'psycopg[binary]' if error.name == 'psycopg' else error.name}."
    if given.startswith("postgres"):
        return " Is the server up, and the address of the form postgresql+psycopg://USER:PASSWORD@HOST/DATABASE?"
    return " Give a database URL, as postgresql+psycopg://USER@HOST/DATABASE, or the path of a journal file."


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    lock = JournalFileSymlinkLock(str(path))
    backend = JournalFileBackend(str(path), lock_obj=lock)
    lock.acquire()
    try:
        _drop_torn_line(path)
    finally:
        lock.release()
    return JournalStorage(backend)


def _drop_torn_line(path: Path) -> None:
    """Cuts off a last line that a kill tore: Optuna would append to it, and neither line could be read again."""
    content = path.read_bytes()
    if content and b'"op_code"' not in content.partition(b"\n")[0]:
        raise ValueError("it is no journal of Optuna's")
    keep = content.rfind(b"\n") + 1
    if keep < len(content):
        os.truncate(path, keep)


def _sqlite(path: Path) -> str:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path)).render_as_string()


def _database(url: str) -> BaseStorage:
    """Of several processes that make the tables at once, those that lose find them made a moment later."""
    for attempt in range(1, _TRIES + 1):
        try:
            return _opened(url)
        except Exception as error:
            if attempt == _TRIES or not any(word in str(error).lower() for word in _LOST):
                raise
            time.sleep(_PAUSE)
    raise AssertionError("the last try returns or raises")


def _opened(url: str) -> BaseStorage:
    from optuna.storages import RDBStorage
    from sqlalchemy import event

    if not url.startswith("sqlite"):
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _SQLITE_WAIT}})
    # SQLite has no SELECT ... FOR UPDATE: without a lock from the start of a transaction, two processes could both
    # read that a trial waits and both take it.
    event.listen(storage.engine, "connect", _leave_transactions_to_us)
    event.listen(storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    storage.engine.dispose()
    return storage


def _leave_transactions_to_us(connection: Any, _: Any) -> None:
    connection.isolation_level = None
