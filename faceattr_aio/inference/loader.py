"""Makes the starter of workers from the configuration: what they load, from verified files, and where they run."""

from collections.abc import Mapping
from functools import partial

from faceattr_aio.config.schema import Config
from faceattr_aio.errors import StartError
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.inference.process import Starter, process_starter, thread_starter
from faceattr_aio.inference.worker import ProcessLimits
from faceattr_aio.pipeline import LoadSpec
from faceattr_aio.uploads.formats import BLIND

_BYTES_PER_PIXEL = 12
"""Measured maximum of the decoders, with a margin: 9 for a progressive JPEG without chroma subsampling."""
_BASE_MEMORY = 512 << 20
"""Bytes for nets and buffers that do not depend on the size of the picture."""


def starter(config: Config) -> Starter:
    """Return a starter of worker processes when `inference.pool` is `process`, else of worker threads. Each start
    verifies the files that the worker loads. Raises StartError when settings contradict each other.
    """
    make_specs = partial(_load_specs, config, ModelStore(config.models.dir))
    if config.inference.pool != "process":
        for name in BLIND.intersection(config.image.formats):
            raise StartError(f"The type {name} needs workers of bounded memory: set inference.pool to 'process'.")
        return thread_starter(make_specs)
    modules = sorted({entry.declaration.load.partition(":")[0] for entry in config.pipelines.values()})
    memory = _BASE_MEMORY + _BYTES_PER_PIXEL * config.image.max_pixels
    return process_starter(make_specs, modules, ProcessLimits(config.inference.nice, memory))


def _load_specs(config: Config, store: ModelStore) -> Mapping[str, LoadSpec]:
    return {name: _load_spec(config, store, name) for name in config.pipelines}


def _load_spec(config: Config, store: ModelStore, name: str) -> LoadSpec:
    entry = config.pipelines[name]
    files = {model: store.verify(model) for model in entry.declaration.models(entry.settings)}
    own_process = config.inference.pool == "process"
    return LoadSpec(entry.declaration.load, entry.settings, files, config.image.working_side, own_process)
