"""Settings and options of the pipeline."""

import re
import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from faceattr_aio.config.schema import Config
from faceattr_aio.inference.models import load_manifest
from faceattr_aio.pipelines.holistic import PARTS, Holistic, HolisticOptions, HolisticSettings, model_names
from tests.support.process import ROOT


def shipped() -> dict[str, Any]:
    """Return the commented section of the shipped configuration file."""
    text = (ROOT / "conf" / "faceattr.toml").read_text()
    section = re.search(r"^# \[pipelines\.holistic\]\n(#.*\n)+", text, re.MULTILINE)
    assert section
    entries: dict[str, Any] = tomllib.loads(re.sub("^# ?", "", section[0], flags=re.MULTILINE))
    return entries["pipelines"]["holistic"]  # type: ignore[no-any-return]  # one section


def test_an_empty_section_enables_the_pipeline() -> None:
    entry = Config(pipelines={"holistic": {}}).pipelines["holistic"]
    assert (entry.path, entry.declaration, entry.settings) == ("/predict", Holistic, HolisticSettings())


def test_the_shipped_file_has_every_key_with_its_default() -> None:
    entry = Config(pipelines={"holistic": {}}).pipelines["holistic"]
    assert (
        shipped() == {"factory": entry.factory, "path": entry.path, "share": entry.share} | entry.settings.model_dump()
    )


def test_every_model_is_in_the_manifest_as_a_member_of_one_wheel() -> None:
    models = [load_manifest()[name] for name in Holistic.models(HolisticSettings())]
    assert len(models) == 6
    assert {model.licence for model in models} == {"Apache-2.0"}
    assert {model.wheel and (model.wheel.package, model.wheel.version, model.wheel.abi) for model in models} == {
        ("mediapipe", "0.10.21", "cp312")
    }


def test_a_part_requires_its_models_and_those_of_the_pose() -> None:
    assert set(model_names(HolisticOptions(parts=("left_hand",)).parts)) == {
        "pose_detector",
        "pose",
        "hand_detector",
        "hand",
    }
    assert set(model_names(PARTS).values()) == set(Holistic.models(HolisticSettings()))


def test_parts_are_separated_by_commas() -> None:
    assert HolisticOptions.model_validate({"parts": "face,left_hand"}).parts == ("face", "left_hand")


@pytest.mark.parametrize(
    "wrong",
    [{"parts": ""}, {"parts": "foot"}, {"working_side": "63"}, {"complexity": "2"}, {"min_sharpness": "-1"}],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        HolisticOptions.model_validate(wrong)


def test_a_person_is_counted() -> None:
    count = Holistic.counts["people"]
    assert (count({"reason": None}), count({"reason": "no-person"})) == (1, 0)
