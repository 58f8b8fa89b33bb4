"""Which names there were already, however many: they lie in a temporary database that only a little of is in memory."""

import os
import sqlite3
from pathlib import Path


def name_of(path: Path) -> str:
    """The same for the same path, as text that any file can hold."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Seen:
    """A set of names. Used by one thread at a time."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, name: str) -> bool:
        """Whether it is new."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1

    def close(self) -> None:
        """Forgets all of it."""
        self._database.close()
