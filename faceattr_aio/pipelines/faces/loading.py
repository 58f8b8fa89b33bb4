"""Which detector and classifiers the settings name, and the constants of each net. Nothing else knows them all."""

from collections.abc import Callable, Mapping
from pathlib import Path

from faceattr_aio.pipeline import ModelFile
from faceattr_aio.pipelines.faces import Backend, FaceSettings, cv2_network, openvino_network
from faceattr_aio.pipelines.faces.age import AgeInBrackets, AgeInYears
from faceattr_aio.pipelines.faces.attributes import Attributes
from faceattr_aio.pipelines.faces.blazeface import BlazeFace
from faceattr_aio.pipelines.faces.calibration import load_calibration
from faceattr_aio.pipelines.faces.detector import Detector
from faceattr_aio.pipelines.faces.gender import Gender
from faceattr_aio.pipelines.faces.network import Network, SoftmaxNet
from faceattr_aio.pipelines.faces.ssd import Ssd
from faceattr_aio.pipelines.faces.yunet import YuNet

Files = Mapping[str, ModelFile]

DLIB_CHIP = 96
_DLIB_MEAN = (122.782, 117.001, 104.298)
"""Red, green, blue; Davis King's age predictor and gender classifier (dlib-models, CC0) subtract it."""
_CAFFE_SIDE = 227
_CAFFE_MEAN = (78.4263377603, 87.7689143744, 114.895847746)
"""Blue, green, red: the mean of the pictures that Levi and Hassner trained their nets on (2015)."""

READ: Mapping[Backend, Callable[[Path], Network]] = {"cv2": cv2_network.read, "openvino": openvino_network.read}
"""Reads a file of the type .tflite or .onnx; raises StartError where the backend is not installed."""


def load_detector(settings: FaceSettings, files: Files) -> Detector:
    """The detector that the settings name. Raises StartError when it cannot run here."""
    match settings.detector:
        case "blazeface":
            return BlazeFace(READ[settings.backend](files["blazeface-full-range"].path))
        case "yunet":
            return YuNet(files["yunet"].path, settings.yunet_side)
        case "ssd":
            return Ssd(cv2_network.read_caffe(files["res10-ssd-layers"].path, files["res10-ssd"].path))


def load_attributes(settings: FaceSettings, files: Files) -> Attributes:
    """The classifiers that the settings name. Raises StartError when they cannot run here."""
    match settings.classifier:
        case "dlib":
            return _dlib(settings, files)
        case "caffe":
            return _caffe(settings)


def dlib_age_net(network: Network) -> SoftmaxNet:
    """81 classes: calibration.AGES."""
    return SoftmaxNet(network, 64, 1 / 256, _DLIB_MEAN, rgb=True)


def dlib_gender_net(network: Network) -> SoftmaxNet:
    """Two classes: female, male."""
    return SoftmaxNet(network, 32, 1 / 256, _DLIB_MEAN, rgb=True)


def _dlib(settings: FaceSettings, files: Files) -> Attributes:
    read = READ[settings.backend]
    gender, age = dlib_gender_net(read(files["dlib-gender-v1"].path)), dlib_age_net(read(files["dlib-age-v1"].path))
    calibration = load_calibration("age-v1")
    return Attributes(
        {
            "gender": Gender("dlib-gender-v1", gender, DLIB_CHIP, 0, settings.gender_threshold),
            "age": AgeInYears("dlib-age-v1", age, DLIB_CHIP, calibration, settings.bracket_threshold),
        }
    )


def _caffe(settings: FaceSettings) -> Attributes:
    """The nets' two genders are male, female; their eight ages are the brackets."""
    gender, gender_net = _caffe_net(settings.gender_prototxt, settings.gender_weights)
    age, age_net = _caffe_net(settings.age_prototxt, settings.age_weights)
    return Attributes(
        {
            "gender": Gender(gender, gender_net, _CAFFE_SIDE, 1, settings.gender_threshold),
            "age": AgeInBrackets(age, age_net, _CAFFE_SIDE, settings.bracket_threshold),
        }
    )


def _caffe_net(layers: Path | None, weights: Path | None) -> tuple[str, SoftmaxNet]:
    assert layers is not None
    assert weights is not None
    network = cv2_network.read_caffe(layers, weights)
    return weights.stem, SoftmaxNet(network, _CAFFE_SIDE, 1.0, _CAFFE_MEAN, rgb=False)
