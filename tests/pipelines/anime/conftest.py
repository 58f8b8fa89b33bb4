from collections.abc import Callable
from pathlib import Path

import pytest

from bench.support.generator import write_generator
from faceattr_aio.pipeline import LoadSpec
from faceattr_aio.pipelines import Backend
from faceattr_aio.pipelines.anime import Anime, AnimeSettings
from faceattr_aio.pipelines.anime.predict import AnimePipeline
from faceattr_aio.pipelines.nets import IS_OPENCV_4

NARROW = 2
"""Channels of the first layer: the generator is fast, and otherwise like the published ones."""

BACKEND: Backend = "openvino" if IS_OPENCV_4 else "cv2"

LoadAnime = Callable[..., AnimePipeline]


@pytest.fixture(scope="session")
def drawer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow generator with its channels last."""
    return write_generator(tmp_path_factory.mktemp("anime") / "drawer.onnx", NARROW)


@pytest.fixture(scope="session")
def other_drawer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with its channels first."""
    return write_generator(tmp_path_factory.mktemp("anime") / "other.onnx", NARROW, "NCHW", seed=1)


@pytest.fixture(scope="session")
def load_anime(drawer: Path, other_drawer: Path) -> LoadAnime:
    """Loads the pipeline with the styles `mine` and `other`, or with the given settings."""

    def load(working_side: int = 1024, **settings: object) -> AnimePipeline:
        values = {"styles": (), "backend": BACKEND, "files": {"mine": drawer, "other": other_drawer}} | settings
        return AnimePipeline(LoadSpec(Anime.load, AnimeSettings.model_validate(values), {}, working_side))

    return load


@pytest.fixture(scope="session")
def pipeline(load_anime: LoadAnime) -> AnimePipeline:
    return load_anime()
