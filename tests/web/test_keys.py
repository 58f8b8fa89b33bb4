import hmac
from pathlib import Path

import pytest
from pydantic import ValidationError

from faceattr_aio.config.schema import AuthConfig, Config
from faceattr_aio.errors import StartError
from faceattr_aio.web.auth import ApiKeys

ONE, TWO = "one-key-of-sixteen", "another-of-sixteen"


def of(*given: str, file: Path | None = None) -> ApiKeys:
    return ApiKeys(AuthConfig.model_validate({"keys": given}).keys, file)


def test_only_a_key_that_is_ours_has_a_name() -> None:
    ours = of(ONE, TWO)
    assert ours.name_of(ONE)
    for shown in ("", " ", ONE[:-1], f"{ONE} ", ONE.upper(), f"{ONE},{TWO}", "\u20ac", "\udcff", "\ud800"):
        assert ours.name_of(shown) is None


def test_a_name_is_always_the_same_and_does_not_tell_the_key() -> None:
    name = of(ONE, TWO).name_of(ONE)
    assert name
    assert name == of(ONE).name_of(ONE) != of(TWO).name_of(TWO)
    assert ONE not in name


def test_every_key_is_compared_in_constant_time_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    ours = of(*(f"{number}-{ONE}" for number in range(9)))
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for shown in (f"0-{ONE}", f"8-{ONE}", "x", ""):
        compared.clear()
        ours.name_of(shown)
        assert len(compared) == 9
        assert {len(one) for pair in compared for one in pair} == {32}


def test_a_file_adds_to_the_keys_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# for the web page\n\n  {TWO}  \r\n")
    both = of(ONE, file=file)
    assert both.required
    assert both.name_of(ONE)
    assert both.name_of(TWO)
    assert both.name_of("# for the web page") is None


def test_without_keys_none_is_asked_for() -> None:
    assert not of().required
    assert of().name_of("") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"\xff\xfe", "cannot be read: it is no text."),
        (b"", "has no key"),
        (b"# none yet\n\n", "has no key"),
        (b"# comment\nhush-hush\n", "Line 2 of"),
        (b"hush-hush hush-hush-hush\n", "Line 1 of"),
        ("hush-hush-hush-h\u00fcsh\n".encode(), "Line 1 of"),
        (b"hush-hush\x00-hush-hush\n", "Line 1 of"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_without_a_key(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartError) as refused:
        of(file=file)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "auth",
    [
        {"keys": ["hush-hush"]},
        {"keys": ["hush hush hush hush"]},
        {"keys": "hush-hush"},
        {"keys": [["hush-hush-hush-hush"]]},
        {"keys": {"hush": "hush-hush-hush-hush"}},
        {"key": "hush-hush-hush-hush"},
        {"keys": " , "},
        "hush-hush-hush-hush",
    ],
)
def test_a_program_that_gives_a_wrong_key_does_not_read_it_in_its_traceback(auth: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"auth": auth})
    assert "hush" not in str(refused.value).replace("auth.keys.hush", "")


def test_settings_do_not_tell_their_keys() -> None:
    config = Config.model_validate({"auth": {"keys": [ONE]}})
    assert ONE not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
