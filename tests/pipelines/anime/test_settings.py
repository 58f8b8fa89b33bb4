"""Settings and options of the pipeline."""

import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from faceattr_aio.config.schema import Config
from faceattr_aio.inference.models import load_manifest
from faceattr_aio.pipelines.anime import PUBLISHED, Anime, AnimeOptions, AnimeSettings
from faceattr_aio.web.openapi import describe
from tests.support.process import ROOT


def config(**settings: Any) -> Config:
    return Config.model_validate({"pipelines": {"anime": settings}})


def test_an_empty_section_enables_the_pipeline() -> None:
    entry = config().pipelines["anime"]
    assert (entry.path, entry.settings) == ("/api/convert", AnimeSettings())
    assert Anime.models(entry.settings) == ("animeganv2-hayao",)


def test_the_shipped_file_has_every_key_with_its_default() -> None:
    text = (ROOT / "conf" / "faceattr.toml").read_text()
    section = re.search(r"^# \[pipelines\.anime\]\n(#.*\n)+", text, re.MULTILINE)
    assert section
    shipped = tomllib.loads(re.sub("^# ?", "", section[0], flags=re.MULTILINE))["pipelines"]["anime"]
    entry = config().pipelines["anime"]
    settings = entry.settings.model_dump(mode="json") | {"style": "hayao"}
    assert shipped == {"factory": entry.factory, "path": entry.path, "share": entry.share} | settings


def test_every_published_style_is_in_the_manifest_and_not_for_commerce() -> None:
    settings = AnimeSettings(styles=PUBLISHED)
    models = [load_manifest()[name] for name in Anime.models(settings)]
    assert len(models) == 4
    assert {model.licence for model in models} == {"non-commercial"}
    assert all(model.url and model.url.startswith("https://") for model in models)


def test_a_file_of_the_user_replaces_the_published_style() -> None:
    settings = AnimeSettings(styles=("hayao", "paprika"), files={"hayao": Path("mine.onnx"), "odd": Path("odd.onnx")})
    assert settings.names == ("hayao", "paprika", "odd")
    assert Anime.models(settings) == ("animeganv2-paprika",)


def test_a_request_may_name_the_configured_styles_only() -> None:
    entry = config(styles="hayao paprika", files={"mine": "mine.onnx"}, style="paprika").pipelines["anime"]
    options = entry.declaration.options
    assert options.model_validate({}).model_dump() == {"style": "paprika", "max_side": 512}
    assert options.model_validate({"style": "mine", "max_side": 9}).model_dump() == {"style": "mine", "max_side": 9}
    with pytest.raises(ValidationError, match="'hayao', 'paprika' or 'mine'"):
        options.model_validate({"style": "shinkai"})
    assert Anime.options is AnimeOptions


def test_the_openapi_document_lists_the_styles() -> None:
    operation = describe(config(styles=("hayao", "shinkai")))["paths"]["/api/convert"]["post"]
    style = next(one for one in operation["parameters"] if one.get("name") == "style")
    assert style["schema"] == {"type": "string", "enum": ["hayao", "shinkai"], "default": "hayao"}
    assert list(operation["responses"]["200"]["content"]) == ["image/jpeg", "image/png", "image/webp"]


def test_options_reach_a_worker_in_another_process() -> None:
    entry = config(files={"mine": "mine.onnx"}).pipelines["anime"]
    options = entry.declaration.options.model_validate({"style": "mine", "max_side": 9})
    assert pickle.loads(pickle.dumps(options)) == AnimeOptions(style="mine", max_side=9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"styles": []},
        {"styles": ["mine"]},
        {"style": "paprika"},
        {"files": {"a b": "x"}},
        {"max_side": 31},
        {"backend": "tensorflow"},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**wrong)


@pytest.mark.parametrize("wrong", [{"max_side": 0}, {"max_side": 513}, {"style": ""}, {"size": 3}], ids=str)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config().pipelines["anime"].declaration.options.model_validate(wrong)
