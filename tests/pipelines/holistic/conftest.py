from collections.abc import Callable

import pytest

from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import LoadSpec
from faceattr_aio.pipelines.holistic import Holistic, HolisticSettings
from faceattr_aio.pipelines.holistic.predict import HolisticPipeline

LoadHolistic = Callable[..., HolisticPipeline]


@pytest.fixture(scope="session")
def plan(store: ModelStore) -> LoadSpec:
    settings = HolisticSettings()
    return LoadSpec(Holistic.load, settings, {name: store.verify(name) for name in Holistic.models(settings)}, 1024)


@pytest.fixture(scope="session")
def pipeline(plan: LoadSpec) -> HolisticPipeline:
    """With the settings' defaults."""
    return HolisticPipeline(plan)
