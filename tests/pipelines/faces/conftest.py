import os
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import LoadSpec, ModelFile
from faceattr_aio.pipelines.faces import FaceAttributes, FaceSettings
from faceattr_aio.pipelines.faces.predict import FacePipeline
from faceattr_aio.pipelines.nets import IS_OPENCV_4

LoadFaces = Callable[..., FacePipeline]

BOX = {"x": 173, "y": 68, "width": 106, "height": 106}
"""The astronaut's face."""


@pytest.fixture
def load_faces(store: ModelStore, data_folder: Path | None) -> LoadFaces:
    """Loads the pipeline with any settings; skips the test when the detector is not available."""

    def load(detector: str = "blazeface", working_side: int = 1024, **settings: object) -> FacePipeline:
        chosen = FaceSettings.model_validate({"detector": detector, **settings})
        if detector == "ssd" and not IS_OPENCV_4:
            pytest.skip("OpenCV 5 has no Caffe reader")
        files = {name: store.verify(name) for name in FaceAttributes.models(chosen) if name != "yunet"}
        if detector == "yunet":
            files["yunet"] = yunet_file(data_folder)
        return FacePipeline(LoadSpec("", chosen, files, working_side))

    return load


def yunet_file(data_folder: Path | None) -> ModelFile:
    if data_folder is None:
        pytest.skip("YuNet: FACEATTR_TEST_DATA is not set")
    return ModelFile(data_folder / "models" / "face_detection_yunet_2026may.onnx", "")


@pytest.fixture(autouse=True, scope="session")
def _expected_opencv(request: pytest.FixtureRequest) -> None:  # noqa: ARG001  # runs once
    """`make test-opencv4` and `make test-opencv5` run with the version that they name."""
    expected = os.environ.get("FACEATTR_TEST_OPENCV")
    assert expected in (None, cv2.__version__.split(".")[0])


def overlap(one: dict[str, int], other: dict[str, int]) -> float:
    """Return the intersection over union of two boxes."""
    wide = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    tall = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    common = max(0, wide) * max(0, tall)
    return common / (one["width"] * one["height"] + other["width"] * other["height"] - common)
