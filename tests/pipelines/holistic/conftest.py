import pytest

from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import LoadSpec
from faceattr_aio.pipelines.holistic import Holistic, HolisticSettings
from faceattr_aio.pipelines.holistic.predict import HolisticPipeline


@pytest.fixture(scope="session")
def load_spec(store: ModelStore) -> LoadSpec:
    settings = HolisticSettings()
    return LoadSpec(Holistic.load, settings, {name: store.verify(name) for name in Holistic.models(settings)}, 1024)


@pytest.fixture(scope="session")
def pipeline(load_spec: LoadSpec) -> HolisticPipeline:
    """The pipeline with default settings."""
    return HolisticPipeline(load_spec)
