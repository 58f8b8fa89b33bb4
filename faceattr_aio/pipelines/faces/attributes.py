"""Gender and age of a detected face: the chip cut from the picture, the classifiers, and the calibration of ages."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from faceattr_aio.pipeline import ModelFile
from faceattr_aio.pipelines import nets
from faceattr_aio.pipelines.faces import UNKNOWN, Attribute, FaceSettings
from faceattr_aio.pipelines.faces.detectors import Detection
from faceattr_aio.pipelines.imaging import Floats, Pixels, warp

_EYES = np.array([[0.2273, 0.2214], [0.7528, 0.2212]])
"""The eyes of dlib's mean face, as shares of the face square."""
_PADDING = 0.2
"""On each side of the face square, as a share of it: as dlib cuts the chips that its networks were trained on."""
_BOX_SHARE, _BOX_CENTRE = 0.64, 0.58
"""Side of the face square and height of its centre, as shares of the height of a res10 box, from hair to chin: medians
over labelled faces with the eyes located by another detector."""

DLIB_CHIP = 96
_DLIB_MEAN = (122.782, 117.001, 104.298)
"""Red, green, blue; Davis King's age predictor and gender classifier (dlib-models, CC0) subtract it."""
_CAFFE_SIDE = 227
_CAFFE_MEAN = (78.4263377603, 87.7689143744, 114.895847746)
"""Blue, green, red: the mean of the pictures that Levi and Hassner trained their networks on (2015)."""

BRACKETS = ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
"""The age brackets of the Adience benchmark (Levi and Hassner, 2015). They leave gaps; the probability in the gaps is
distributed by renormalising over the eight."""
_TAIL = 0.1
OLDEST = 80
"""The last class of the age network, which also stands for older people."""
AGES: Floats = np.array([0.25, *range(1, OLDEST + 1)])
"""The age in years of each of its 81 classes."""


@dataclass
class SoftmaxNetwork:
    """A network that ends in a softmax; the other fields are the arguments of `make_blob`. Not thread-safe."""

    network: nets.Network
    side: int
    scale: float
    mean: Sequence[float]
    rgb: bool

    def probabilities(self, chip: Pixels) -> Floats:
        """Return one probability for each class (float64)."""
        (output,) = self.network.run(nets.make_blob(chip, self.side, self.scale, self.mean, rgb=self.rgb))
        return np.asarray(output, np.float64).ravel()


@dataclass
class Classifier:
    """Estimates one attribute of a face. Not thread-safe.

    `interpret` returns the attribute as plain data, given the probabilities of the network.
    """

    name: str
    network: SoftmaxNetwork
    chip_side: int
    interpret: Callable[[Floats], dict[str, Any]]

    def classify(self, chip: Pixels) -> dict[str, Any]:
        """Return the attribute as plain data, for a chip of `chip_side` x `chip_side` pixels."""
        return self.interpret(self.network.probabilities(chip))


@dataclass
class AttributeClassifiers:
    """The classifier of each attribute, in the order of the response. Not thread-safe."""

    classifiers: Mapping[Attribute, Classifier]

    def names(self, attributes: Sequence[Attribute]) -> dict[str, str]:
        """Return the name of the model of each of the attributes."""
        return {attribute: self.classifiers[attribute].name for attribute in sorted(set(attributes))}

    def classify(self, pixels: Pixels, face: Detection, attributes: Sequence[Attribute]) -> dict[str, Any]:
        """Estimate the given attributes of one face."""
        chosen = {name: one for name, one in self.classifiers.items() if name in attributes}
        chips = {side: cut_chip(pixels, face, side) for side in {one.chip_side for one in chosen.values()}}
        return {name: one.classify(chips[one.chip_side]) for name, one in chosen.items()}


def load_attributes(settings: FaceSettings, files: Mapping[str, ModelFile]) -> AttributeClassifiers:
    """Load the classifiers that the settings name. Raises StartError when they cannot run here."""
    to_gender = partial(name_gender, threshold=settings.gender_threshold)
    threshold = settings.bracket_threshold
    if settings.classifier == "dlib":
        network = dlib_gender_network(nets.read_network(files["dlib-gender-v1"].path, settings.backend))
        gender = Classifier("dlib-gender-v1", network, DLIB_CHIP, partial(to_gender, female=0))
        network = dlib_age_network(nets.read_network(files["dlib-age-v1"].path, settings.backend))
        to_age = partial(estimate_by_years, threshold=threshold, calibration=load_calibration("age-v1"))
        age = Classifier("dlib-age-v1", network, DLIB_CHIP, to_age)
    else:
        name, network = _caffe_network(settings.gender_prototxt, settings.gender_weights)
        gender = Classifier(name, network, _CAFFE_SIDE, partial(to_gender, female=1))
        name, network = _caffe_network(settings.age_prototxt, settings.age_weights)
        age = Classifier(name, network, _CAFFE_SIDE, partial(estimate_by_brackets, threshold=threshold))
    return AttributeClassifiers({"gender": gender, "age": age})


def dlib_age_network(network: nets.Network) -> SoftmaxNetwork:
    """Return dlib's age network: 64 x 64 pixels, 81 classes (AGES)."""
    return SoftmaxNetwork(network, 64, 1 / 256, _DLIB_MEAN, rgb=True)


def dlib_gender_network(network: nets.Network) -> SoftmaxNetwork:
    """Return dlib's gender network: 32 x 32 pixels, two classes (female, male)."""
    return SoftmaxNetwork(network, 32, 1 / 256, _DLIB_MEAN, rgb=True)


def _caffe_network(layers: Path | None, weights: Path | None) -> tuple[str, SoftmaxNetwork]:
    """Return a network of Levi and Hassner and its name. The classes are male, female; or the eight brackets."""
    assert layers is not None
    assert weights is not None
    network = nets.read_caffe(layers, weights)
    return weights.stem, SoftmaxNetwork(network, _CAFFE_SIDE, 1.0, _CAFFE_MEAN, rgb=False)


@dataclass(frozen=True)
class Calibration:
    """Corrects the confidence of the age network; fitted by bench.calibrate, see models/README.md.

    `temperature` divides the logits. At an estimate of `ages[i]` years, the true age lies between `low[i]` and
    `high[i]` years from it for 80 % of the faces; linear in between.
    """

    temperature: float
    ages: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def soften(self, probabilities: Floats) -> Floats:
        """Return the distribution at the temperature, along the last axis."""
        logits = np.log(np.maximum(probabilities, 1e-9)) / self.temperature
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def interval(self, years: float) -> tuple[int, int]:
        """Return the 80 % interval around an estimate, in whole years from 0 to 80."""
        low = years + float(np.interp(years, self.ages, self.low))
        high = years + float(np.interp(years, self.ages, self.high))
        return max(0, round(low)), min(OLDEST, round(high))


def load_calibration(name: str) -> Calibration:
    """Read the calibration `NAME.toml` of this package."""
    text = resources.files("faceattr_aio.pipelines.faces").joinpath(f"{name}.toml").read_text()
    values = tomllib.loads(text)
    return Calibration(values["temperature"], *(tuple(values[name]) for name in ("ages", "low", "high")))


def name_gender(probabilities: Floats, threshold: float, female: int) -> dict[str, Any]:
    """Return the likelier gender and its probability; below the threshold the label is `unknown`.

    `female` is the index of one of the two classes.
    """
    share = float(probabilities[female])
    label, probability = max(("female", share), ("male", 1 - share), key=lambda one: one[1])
    return {"label": label if probability >= threshold else UNKNOWN, "probability": round(probability, 3)}


def estimate_by_years(raw: Floats, threshold: float, calibration: Calibration) -> dict[str, Any]:
    """Return years, interval, bracket and the bracket's probability, given that of each class of AGES.

    The years are the expectation of the raw distribution; interval and bracket come from the calibrated one.
    """
    years = float(raw @ AGES)
    masses = bracket_masses(calibration.soften(raw))
    interval = list(calibration.interval(years))
    return {"years": round(years, 1), "interval": interval} | name_bracket(masses, threshold)


def estimate_by_brackets(masses: Floats, threshold: float) -> dict[str, Any]:
    """Return years, interval, bracket and the bracket's probability, given that of each bracket.

    The years are the expectation over the centres of the brackets. The interval spans the brackets that hold the middle
    80 % of the probability.
    """
    years = float(masses @ np.mean(BRACKETS, axis=1))
    low, high = np.searchsorted(masses.cumsum(), (_TAIL, 1 - _TAIL)).clip(0, len(BRACKETS) - 1)
    interval = [BRACKETS[low][0], BRACKETS[high][1]]
    return {"years": round(years, 1), "interval": interval} | name_bracket(masses, threshold)


def bracket_masses(probabilities: Floats) -> Floats:
    """Return the probability of each of the eight brackets, given that of each class of AGES."""
    whole = np.floor(AGES)
    masses = np.array([probabilities[(whole >= low) & (whole <= high)].sum() for low, high in BRACKETS])
    return np.asarray(masses / max(masses.sum(), np.finfo(np.float32).tiny))


def name_bracket(masses: Floats, threshold: float) -> dict[str, Any]:
    """Return the likeliest bracket and its probability; below the threshold the bracket is `unknown`."""
    best = int(masses.argmax())
    low, high = BRACKETS[best]
    probability = round(float(masses[best]), 3)
    return {"bracket": f"{low}-{high}" if probability >= threshold else UNKNOWN, "probability": probability}


def cut_chip(pixels: Pixels, face: Detection, side: int) -> Pixels:
    """Return the face upright, scaled to side x side pixels, with a fifth of padding around the face square."""
    matrix = _by_box(face.box, side) if face.landmarks is None else _by_eyes(face.landmarks[:2], side)
    return warp(pixels, matrix, side)


def _by_eyes(eyes: Floats, side: int) -> Floats:
    """Return the similarity transform (2 x 3) that maps the eyes to those of the mean face.

    Points are complex numbers, so that one factor rotates and scales.
    """
    targets = (_PADDING + _EYES) / (1 + 2 * _PADDING) * side
    (from_left, from_right), (to_left, to_right) = eyes @ (1, 1j), targets @ (1, 1j)
    turn = (to_right - to_left) / ((from_right - from_left) or 1)
    move = to_left - turn * from_left
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


def _by_box(box: Floats, side: int) -> Floats:
    """Return the scaling (2 x 3) that maps the face inside the box to the face square, for faces without landmarks."""
    x, y, width, height = box
    centre = np.array([x + width / 2, y + height * _BOX_CENTRE])
    scale = side / (1 + 2 * _PADDING) / max(height * _BOX_SHARE, 1.0)
    return np.column_stack([np.eye(2) * scale, side / 2 - centre * scale])
