"""Faces with gender and age: what a client may ask, what the configuration may say, which models that takes.
The order of work is in `predict`; this half is imported by the server and must not import the vision library.

    decode -> detect -> crop a chip by the eyes -> gender, age
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from faceattr_aio.pipeline import JSON, Declaration, Options, PipelineSettings, split_words
from faceattr_aio.schemas import Faces, Probability

UNKNOWN = "unknown"
"""What is not sure enough to be named."""

Attribute = Literal["age", "gender"]
Backend = Literal["cv2", "openvino"]


class FaceOptions(Options):
    """What a client may ask of one request."""

    attributes: Annotated[
        tuple[Attribute, ...],
        BeforeValidator(split_words),
        Field(description="What to tell of each face; may be nothing."),
    ] = ("age", "gender")
    min_confidence: Annotated[Probability, Field(description="How sure the detector has to be of a face.")] = 0.5
    max_faces: Annotated[int, Field(ge=1, le=1000, description="The surest ones.")] = 100
    detail: Annotated[
        Literal["normal", "high"],
        Field(description="high also finds small faces, at five times the cost of detection."),
    ] = "normal"


class FaceSettings(PipelineSettings):
    """The keys of `[pipelines.faces]`. The four Caffe files are the user's own: nobody promises to have them."""

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
    def _caffe_files_are_named(self) -> Self:
        files = self.age_weights, self.age_prototxt, self.gender_weights, self.gender_prototxt
        if self.classifier == "caffe" and not all(files):
            raise ValueError(
                "classifier 'caffe' needs age_weights, age_prototxt, gender_weights and gender_prototxt, "
                "four files of your own"
            )
        return self

    @model_validator(mode="after")
    def _caffe_runs_on_opencv(self) -> Self:
        if self.backend != "cv2" and (self.detector == "ssd" or self.classifier == "caffe"):
            raise ValueError(
                "detector 'ssd' and classifier 'caffe' are Caffe nets, which only backend 'cv2' reads: "
                "set it, or detector 'blazeface' and classifier 'dlib'"
            )
        return self


_DETECTOR_MODELS = {
    "blazeface": ("blazeface-full-range",),
    "yunet": ("yunet",),
    "ssd": ("res10-ssd", "res10-ssd-layers"),
}
_CLASSIFIER_MODELS: dict[str, tuple[str, ...]] = {"dlib": ("dlib-age-v1", "dlib-gender-v1"), "caffe": ()}


def _models(settings: FaceSettings) -> tuple[str, ...]:
    return _DETECTOR_MODELS[settings.detector] + _CLASSIFIER_MODELS[settings.classifier]


FaceAttributes: Declaration = Declaration(
    load="faceattr_aio.pipelines.faces.predict:FacePipeline",
    options=FaceOptions,
    settings=FaceSettings,
    models=_models,
    media_types=(JSON, "image/jpeg", "image/png"),
    counts={"faces": lambda result: len(result["faces"])},
    result=Faces,
)
