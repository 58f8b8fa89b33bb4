"""Detects faces with gender and age in uploaded pictures: an aiohttp app, or part of one, that refuses requests at once
if it cannot finish them in time. Importing the package loads no vision library. Its names are imported on first use,
because worker processes import the package too and need none of them.
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

_MODULES = {
    "Config": "config.schema",
    "Executor": "inference.executor",
    "FaceattrError": "errors",
    "Reply": "pipeline",
    "StartError": "errors",
    "Task": "pipeline",
    "load_config": "config.load",
    "reload": "web.reload",
}
"""The modules of the names that are not from `web.app`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'web.app')}"), name)


def __dir__() -> list[str]:
    return __all__
