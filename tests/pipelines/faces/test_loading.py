"""Loading the detectors and classifiers that the settings name."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from faceattr_aio.errors import StartError
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import ModelFile
from faceattr_aio.pipelines import Backend, nets
from faceattr_aio.pipelines.faces import FaceAttributes, FaceSettings
from faceattr_aio.pipelines.faces.attributes import load_attributes
from faceattr_aio.pipelines.faces.detectors import load_detector

pytestmark = pytest.mark.pixels

NOTHING = Path("/nowhere")
CAFFE = ("age_weights", "age_prototxt", "gender_weights", "gender_prototxt")


@pytest.mark.parametrize(
    ("settings", "models"),
    [
        ({}, ("blazeface-full-range", "dlib-age-v1", "dlib-gender-v1")),
        ({"backend": "openvino"}, ("blazeface-full-range", "dlib-age-v1", "dlib-gender-v1")),
        ({"detector": "yunet"}, ("yunet", "dlib-age-v1", "dlib-gender-v1")),
        ({"detector": "ssd"}, ("res10-ssd", "res10-ssd-layers", "dlib-age-v1", "dlib-gender-v1")),
    ],
)
def test_only_the_models_of_the_settings_are_needed(settings: dict[str, str], models: tuple[str, ...]) -> None:
    assert FaceAttributes.models(FaceSettings.model_validate(settings)) == models


def test_caffe_classifiers_need_four_files() -> None:
    with pytest.raises(ValidationError, match="four files of your own"):
        FaceSettings.model_validate({"classifier": "caffe", "age_weights": NOTHING})
    named = dict.fromkeys(CAFFE, NOTHING)
    settings = FaceSettings.model_validate({"classifier": "caffe", **named})
    assert FaceAttributes.models(settings) == ("blazeface-full-range",)


@pytest.mark.parametrize("backend", ["cv2", "openvino"])
def test_the_chosen_backend_reads_every_network(
    backend: Backend, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, read, calls = FaceSettings(backend=backend), nets.read_network, list[tuple[Path, Backend]]()

    def record(path: Path, backend: Backend) -> nets.Network:
        calls.append((path, backend))
        return read(path, backend)

    monkeypatch.setattr(nets, "read_network", record)
    files = {name: store.verify(name) for name in FaceAttributes.models(settings)}
    load_detector(settings, files)
    load_attributes(settings, files)
    assert sorted(calls) == sorted((file.path, backend) for file in files.values())


@pytest.mark.parametrize("chosen", [{"detector": "ssd"}, {"classifier": "caffe"} | dict.fromkeys(CAFFE, NOTHING)])
def test_caffe_networks_run_on_opencv_only(chosen: dict[str, object]) -> None:
    FaceSettings.model_validate(chosen)
    with pytest.raises(ValidationError, match="only backend 'cv2' reads"):
        FaceSettings.model_validate(chosen | {"backend": "openvino"})


def test_caffe_networks_that_cannot_be_read_stop_the_start_with_the_reason() -> None:
    files = {name: ModelFile(NOTHING, "") for name in ("res10-ssd", "res10-ssd-layers")}
    reason = "OpenCV 5 cannot read Caffe nets" if not nets.IS_OPENCV_4 else "cannot be read as a Caffe net"
    with pytest.raises(StartError, match=reason):
        load_detector(FaceSettings(detector="ssd"), files)
    named = dict.fromkeys(CAFFE, NOTHING)
    with pytest.raises(StartError, match=reason):
        load_attributes(FaceSettings.model_validate({"classifier": "caffe", **named}), {})
