"""The settings of a serving process: read at its start, and again whenever that is asked for. What cannot be used
changes nothing.
"""

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from faceattr_aio.cli.supervisor import divide_config
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import ReloadFailed, StartError
from faceattr_aio.web.app import EXECUTOR
from faceattr_aio.web.reload import reload, take_over

log = logging.getLogger(__name__)


class Settings:
    """Those in force: `config` is for all processes together, of which this is the one with `number` if there are
    several.
    """

    def __init__(self, config: Config, read: Callable[[], Config], number: int | None = None) -> None:
        self.config = config
        self._read = read
        self._number = number

    def own(self, config: Config | None = None) -> Config:
        """The settings of this process: its share of the whole. Raises StartError when there is too little to share."""
        config = config or self.config
        return config if self._number is None else divide_config(config, self._number)

    def read_again(self) -> tuple[Config, list[str]]:
        """What they will be, and the changed keys that need a restart. Raises StartError."""
        config, later = take_over(self.config, self._read())
        self.own(config)
        return config, later


async def reload_when_asked(app: web.Application, settings: Settings, asked: asyncio.Event) -> None:
    """Reloads each time; as often as it was asked for meanwhile makes once more."""
    while await asked.wait():
        asked.clear()
        try:
            config, later = settings.read_again()
            await reload(app, settings.own(config))
        except StartError as error:
            app[EXECUTOR].record_failed_reload(error)
        except ReloadFailed:  # told already
            continue
        else:
            settings.config = config
            log.info("the settings were reloaded; a restart is needed for %s", ", ".join(later) or "none of them")
            logging.getLogger().setLevel(config.logging.level.upper())
