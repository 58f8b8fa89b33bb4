"""Faces with gender and age from uploaded pictures, as an aiohttp app or inside one, that refuses at once what it
cannot do in time. Importing it loads no vision library and changes nothing in the process.
"""

from faceattr_aio.config import Config
from faceattr_aio.errors import FaceattrError, StartError
from faceattr_aio.executor import Executor
from faceattr_aio.pipeline import Reply, Task
from faceattr_aio.reloading import reload
from faceattr_aio.sources import load_config
from faceattr_aio.web import drain, get_executor, make_app, retire, setup

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
