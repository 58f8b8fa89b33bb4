"""Faces with gender and age from uploaded pictures, as an aiohttp app or inside one, that refuses at once what it
cannot do in time. Importing it loads no vision library and changes nothing in the process; its names are imported when
they are asked for, because worker processes import it too and want none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceattr_aio.config.load import load_config
    from faceattr_aio.config.schema import Config
    from faceattr_aio.errors import FaceattrError, StartError
    from faceattr_aio.inference.executor import Executor
    from faceattr_aio.pipeline import Reply, Task
    from faceattr_aio.web.app import drain, get_executor, make_app, retire, setup
    from faceattr_aio.web.reload import reload

__all__ = [
    "Config",
    "Executor",
    "FaceattrError",
    "Reply",
    "StartError",
    "Task",
    "drain",
    "get_executor",
    "load_config",
    "make_app",
    "reload",
    "retire",
    "setup",
]

_HOMES = {
    "Config": "config.schema",
    "Executor": "inference.executor",
    "FaceattrError": "errors",
    "Reply": "pipeline",
    "StartError": "errors",
    "Task": "pipeline",
    "load_config": "config.load",
    "reload": "web.reload",
}
"""The modules that names are from, where that is not `web.app`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'web.app')}"), name)


def __dir__() -> list[str]:
    return __all__
