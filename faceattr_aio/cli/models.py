"""`faceattr-aio models`: downloads, lists and verifies model files."""

import argparse
import sys

from tqdm import tqdm

from faceattr_aio.cli import FAILED
from faceattr_aio.cli.settings import load
from faceattr_aio.config import Config
from faceattr_aio.errors import StartError
from faceattr_aio.inference.models import ModelStore


def run(parsed: argparse.Namespace) -> int:
    """Raises StartError."""
    config = load(parsed)
    store, used = ModelStore(config.models.dir), used_models(config)
    if parsed.action == "list":
        return _list(store, used)
    action = _pull if parsed.action == "pull" else verify
    return action(store, parsed.names or used)


def used_models(config: Config) -> list[str]:
    """Return the models that the settings use, each once."""
    entries = config.pipelines.values()
    return list(dict.fromkeys(name for entry in entries for name in entry.declaration.models(entry.settings)))


def _pull(store: ModelStore, names: list[str]) -> int:
    missing = [name for name in names if not store.is_intact(name)]
    size = sum(store.manifest[name].size for name in missing)
    with tqdm(total=size, unit="B", unit_scale=True, desc="models", disable=not missing, file=sys.stderr) as bar:
        if missing:
            store.pull(missing, bar.update)
    print(f"{len(missing)} of {len(names)} models downloaded to {store.folder}; the others were intact")
    return 0


def verify(store: ModelStore, names: list[str]) -> int:
    """Print the state of each model. Return 1 when one is missing or damaged."""
    status = 0
    for name in names:
        try:
            print(f"{name}: {store.verify(name).path} is intact")
        except StartError as error:
            print(f"{name}: {error}")
            status = FAILED
    return status


def _list(store: ModelStore, used: list[str]) -> int:
    for name, model in store.manifest.items():
        state = "intact" if store.is_intact(name) else "damaged" if store.path(name).is_file() else "missing"
        source = f"{model.wheel.package}=={model.wheel.version}" if model.wheel else model.url
        mark = "*" if name in used else " "
        print(f"{mark} {name:30} {state:8} {model.size:>11,} B  {model.licence:11} {source}")
    print("* used by the settings")
    return 0
