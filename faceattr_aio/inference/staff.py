"""The workers as the settings want them: what they load, how many there are, when they are replaced; and the limit and
the lanes that fit them. Knows no event loop, and nothing of what is asked of workers.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from importlib import metadata

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import ReloadFailed
from faceattr_aio.inference.lanes import Quotas
from faceattr_aio.inference.loader import starter
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.scaling import Scaling
from faceattr_aio.inference.upkeep import Recycling, Upkeep
from faceattr_aio.inference.worker import ModelHashes
from faceattr_aio.pipeline import Declaration

log = logging.getLogger("faceattr_aio.staff")

_VERSION = metadata.version("faceattr-aio")


class Staff:
    """`start` before the first work, `stop` and `pool.close` at the end."""

    def __init__(self, config: Config) -> None:
        """Raises StartError when settings do not go together."""
        workers, most = config.inference.worker_count, config.inference.max_workers
        self.config: Config = config
        """What is in use: at a reload, what is asked for only once all workers are new."""
        self.declarations: Mapping[str, Declaration] = _declarations(config)
        self.limiter: Limiter = Limiter(config.inference.limit_count, workers)
        self.lanes: Quotas = Quotas(self.limiter, {name: entry.share for name, entry in config.pipelines.items()}, most)
        self.pool: Pool = Pool(starter(config), workers)
        self.reloads: Counter[str] = Counter()
        """How many there were: `ok` and `failed`."""
        self.reload_fault: str | None = None
        """Why the last reload failed, if it did."""
        self._upkeep = Upkeep(self.pool, self.limiter, _recycling(config), Scaling(workers, most), self._fit)

    def start(self) -> None:
        """Loads every worker. Raises StartError."""
        self.pool.start()
        self._upkeep.start()

    def stop(self) -> None:
        """Replaces nobody any more."""
        self._upkeep.stop()

    def reload(self, config: Config | None) -> ModelHashes:
        """Puts new workers in place of all, one after another, and takes over what `config` says of them, if it is
        given. Not to be called again meanwhile. Raises ReloadFailed, and all is as before.
        """
        wanted = config or self.config
        try:
            self.pool.reload(starter(wanted))
        except Exception as error:
            self.record_failed_reload(error)
            raise ReloadFailed(f"All is as before. {error}") from error
        self._take_over(wanted)
        log.info("the models were reloaded: %s", ", ".join(self.pool.models))
        return self.pool.models

    def record_failed_reload(self, error: Exception) -> None:
        """To the log, on /readyz, and in the count."""
        self.reloads["failed"] += 1
        self.reload_fault = str(error)
        log.error("nothing was reloaded, and all is as before: %s", error)

    def fingerprint(self, name: str) -> str:
        """All that decides what the pipeline `name` finds in a picture, beside the picture and the options."""
        settings, models = self.config.pipelines[name].settings, sorted(self.pool.models.items())
        return f"{_VERSION} {name} {settings.model_dump_json()} {self.config.image.working_side} {models}"

    def _take_over(self, config: Config) -> None:
        self.reloads["ok"] += 1
        self.reload_fault = None
        self.config, self.declarations = config, _declarations(config)
        self._upkeep.recycling = _recycling(config)
        self._fit()

    def _fit(self) -> None:
        """The limit to the number of workers that there are now."""
        self.limiter.workers = self.pool.size
        self.limiter.limit = self.config.inference.limit_of(self.pool.size)
        self.lanes.fit()


def _declarations(config: Config) -> Mapping[str, Declaration]:
    return {name: entry.declaration for name, entry in config.pipelines.items()}


def _recycling(config: Config) -> Recycling:
    return Recycling(config.inference.recycle_after, config.inference.recycle_bytes)
