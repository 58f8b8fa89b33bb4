"""Faces with gender and age: options, settings, models and declaration of the pipeline.

The server imports this module, so it must not import cv2, numpy or OpenVINO. The work is in `predict`:

    decode -> detect -> crop a chip by the eyes -> gender, age
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from faceattr_aio.pipeline import JSON, Declaration, Options, PipelineSettings, split_words
from faceattr_aio.pipelines import Backend
from faceattr_aio.schemas import Faces, Probability

UNKNOWN = "unknown"
"""The label when the probability is below the threshold of the settings."""

Attribute = Literal["age", "gender"]


class FaceOptions(Options):
    """Options of one request."""

    attributes: Annotated[
        tuple[Attribute, ...],
        BeforeValidator(split_words),
        Field(description="The attributes to estimate for each face; may be empty."),
    ] = ("age", "gender")
    min_confidence: Annotated[Probability, Field(description="Least confidence of the detector in a face.")] = 0.5
    max_faces: Annotated[int, Field(ge=1, le=1000, description="Number of faces, those of highest confidence.")] = 100
    detail: Annotated[
        Literal["normal", "high"],
        Field(description="high also finds small faces, at five times the cost of detection."),
    ] = "normal"


class FaceSettings(PipelineSettings):
    """The keys of `[pipelines.faces]`. The four Caffe files are supplied by the user."""

    backend: Backend = "cv2"
    detector: Literal["blazeface", "yunet", "ssd"] = "blazeface"
    classifier: Literal["dlib", "caffe"] = "dlib"
    yunet_side: Annotated[int, Field(ge=64, le=2048)] = 320
    gender_threshold: Probability = 0.6
    bracket_threshold: Probability = 0.25
    age_weights: Path | None = None
    age_prototxt: Path | None = None
    gender_weights: Path | None = None
    gender_prototxt: Path | None = None

    @model_validator(mode="after")
    def _check_caffe(self) -> Self:
        files = self.age_weights, self.age_prototxt, self.gender_weights, self.gender_prototxt
        if self.classifier == "caffe" and not all(files):
            raise ValueError(
                "classifier 'caffe' needs age_weights, age_prototxt, gender_weights and gender_prototxt, "
                "four files of your own"
            )
        if self.backend != "cv2" and (self.detector == "ssd" or self.classifier == "caffe"):
            raise ValueError(
                "detector 'ssd' and classifier 'caffe' are Caffe nets, which only backend 'cv2' reads: "
                "set it, or detector 'blazeface' and classifier 'dlib'"
            )
        return self


_MODELS: dict[str, tuple[str, ...]] = {
    "blazeface": ("blazeface-full-range",),
    "yunet": ("yunet",),
    "ssd": ("res10-ssd", "res10-ssd-layers"),
    "dlib": ("dlib-age-v1", "dlib-gender-v1"),
    "caffe": (),
}

FaceAttributes: Declaration = Declaration(
    load="faceattr_aio.pipelines.faces.predict:FacePipeline",
    options=FaceOptions,
    settings=FaceSettings,
    models=lambda settings: _MODELS[settings.detector] + _MODELS[settings.classifier],
    media_types=(JSON, "image/jpeg", "image/png"),
    counts={"faces": lambda result: len(result["faces"])},
    result=Faces,
)
