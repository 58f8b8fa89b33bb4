"""Alias of `faceattr_aio.pipelines.anime`: the name that settings and documentation use."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceattr_aio.pipelines.anime import *  # noqa: F403  # type checkers do not see the assignment below

sys.modules[__name__] = import_module("faceattr_aio.pipelines.anime")
