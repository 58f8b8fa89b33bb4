"""Parts of ours that need a library which is not installed unless it is asked for. Knows not what they do."""

from importlib import import_module
from types import ModuleType

from faceattr_aio.errors import StartError


def load(module: str, extra: str) -> ModuleType:
    """A module of ours. Raises StartError, which says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise StartError(f"{error}: pip install 'faceattr-aio[{extra}]', or do without it in the settings.") from error
