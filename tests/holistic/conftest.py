from collections.abc import Callable

import pytest

from faceattr_aio.holistic import Holistic, HolisticSettings
from faceattr_aio.holistic.predict import HolisticPipeline
from faceattr_aio.model_store import ModelStore
from faceattr_aio.pipeline import Plan

LoadHolistic = Callable[..., HolisticPipeline]


@pytest.fixture(scope="session")
def plan(store: ModelStore) -> Plan:
    settings = HolisticSettings()
    return Plan(Holistic.load, settings, {name: store.verify(name) for name in Holistic.models(settings)}, 1024)


@pytest.fixture(scope="session")
def pipeline(plan: Plan) -> HolisticPipeline:
    """With the settings' defaults."""
    return HolisticPipeline(plan)
