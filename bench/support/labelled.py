"""Labelled faces and the estimates of the nets, used by `accuracy` and `calibrate`.

A folder has `labels.csv` with the columns file, age (years), gender (female or male), and tightly cropped faces.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from faceattr_aio.config.schema import Config
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipelines import Backend
from faceattr_aio.pipelines.faces import FaceAttributes, FaceSettings
from faceattr_aio.pipelines.faces.attributes import (
    AGES,
    DLIB_CHIP,
    OLDEST,
    cut_chip,
    dlib_age_network,
    dlib_gender_network,
)
from faceattr_aio.pipelines.faces.detectors import load_detector
from faceattr_aio.pipelines.imaging import Floats, Pixels, decode, limit_threads
from faceattr_aio.pipelines.nets import read_network

PADDING = 60
"""Pixels added on each side by repeating the border: the faces are cropped more tightly than in any photo."""


@dataclass(frozen=True)
class Truth:
    """One labelled face; ages over 80 count as 80, the last class of the net."""

    file: Path
    age: float
    gender: str


@dataclass(frozen=True)
class Estimates:
    """Estimates for n faces: ages, n x 81 raw probabilities; female, n probabilities; and the n truths."""

    truths: list[Truth]
    ages: Floats
    female: Floats

    @property
    def years(self) -> Floats:
        """The estimated ages in years."""
        return np.asarray(self.ages @ AGES)

    @property
    def true_ages(self) -> Floats:
        return np.array([truth.age for truth in self.truths])


def read_labels(folder: Path) -> list[Truth]:
    """Read the labels of a folder."""
    with (folder / "labels.csv").open(newline="") as file:
        return [
            Truth(folder / row["file"], min(float(row["age"]), OLDEST), row["gender"]) for row in csv.DictReader(file)
        ]


def read_padded(path: Path) -> Pixels:
    """Decode a picture and repeat its border on each side."""
    pixels = decode(np.fromfile(path, np.uint8))
    padded = cv2.copyMakeBorder(pixels, PADDING, PADDING, PADDING, PADDING, cv2.BORDER_REPLICATE)
    return np.asarray(padded, np.uint8)


def estimate(
    truths: list[Truth], detector: str = "blazeface", models: Path | None = None, backend: Backend = "cv2"
) -> Estimates:
    """Run detector and nets on every face. A face that is not found is missing from the result."""
    limit_threads()
    settings = FaceSettings.model_validate({"detector": detector, "backend": backend})
    store = ModelStore(models or Config().models.dir)
    files = {name: store.verify(name) for name in FaceAttributes.models(settings)}
    find = load_detector(settings, files)
    age = dlib_age_network(read_network(files["dlib-age-v1"].path, backend))
    gender = dlib_gender_network(read_network(files["dlib-gender-v1"].path, backend))

    def run() -> Iterator[tuple[Truth, Floats, float]]:
        for truth in tqdm(truths, unit="face"):
            pixels = read_padded(truth.file)
            for face in find.detect(pixels, 0.5)[:1]:
                chip = cut_chip(pixels, face, DLIB_CHIP)
                yield truth, age.probabilities(chip), float(gender.probabilities(chip)[0])

    found, ages, female = zip(*run(), strict=True)
    return Estimates(list(found), np.array(ages), np.array(female))
