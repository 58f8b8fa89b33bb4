"""Which files are meant: those that are named, and the pictures in folders that are, found one by one without ever
holding all of them. Knows not what is done with them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})


def pictures(places: Sequence[Path]) -> Iterator[Path]:
    """Named files as they are, and from folders, also those in them, what has the suffix of a picture. Links to folders
    are not followed; a folder that cannot be read comes as if it were a file, whose failure then says so.
    """
    for place in places:
        if place.is_dir():
            yield from _inside(place)
        else:
            yield place


def _inside(folder: Path) -> Iterator[Path]:
    """In the order of the file system: one folder may hold millions."""
    with ExitStack() as opened:
        levels = [opened.enter_context(os.scandir(folder))]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop().close()
            elif entry.is_dir(follow_symlinks=False):
                try:
                    levels.append(opened.enter_context(os.scandir(entry)))
                except OSError:
                    yield Path(entry)
            elif Path(entry).suffix.lower() in SUFFIXES and entry.is_file():
                yield Path(entry)
