import pytest
from multidict import MultiDict

from faceattr_aio.errors import BadOption, NotAcceptable
from faceattr_aio.pipelines.faces import FaceOptions
from faceattr_aio.web.params import choose_media_type, parse_options, parse_wait

OFFERED = ("application/json", "image/jpeg", "image/png")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/jpeg"),
        ("image/*;q=0.5, image/png", "image/png"),
        ("text/html, application/xhtml+xml, image/webp, */*;q=0.8", "application/json"),
        ("application/json;q=0.2, image/jpeg;q=0.3", "image/jpeg"),
        ("*/*, application/json;q=0", "image/jpeg"),
        ("image/png;q=nonsense, image/jpeg;q=0.1", "image/jpeg"),
        (", ,", "application/json"),
    ],
)
def test_the_media_type_with_the_highest_quality_is_chosen(accept: str, chosen: str) -> None:
    assert choose_media_type(accept, OFFERED) == chosen


@pytest.mark.parametrize("accept", ["text/html", "application/x-ndjson", "image/webp", "*/*;q=0", "*/*;q=nan"])
def test_no_matching_media_type_raises_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json, image/jpeg, image/png"):
        choose_media_type(accept, OFFERED)


def read(*pairs: tuple[str, str]) -> FaceOptions:
    options = parse_options(MultiDict(pairs), FaceOptions)
    assert isinstance(options, FaceOptions)
    return options


def test_options_are_parsed_from_the_query() -> None:
    options = read(("attributes", "age"), ("min_confidence", "0.7"), ("max_faces", "3"), ("detail", "high"))
    assert options == FaceOptions(attributes=("age",), min_confidence=0.7, max_faces=3, detail="high")


def test_a_list_option_may_contain_spaces() -> None:
    assert read(("attributes", "age, gender")).attributes == ("age", "gender")


def test_attributes_can_be_empty() -> None:
    assert read(("attributes", "")).attributes == ()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("min_confidence", "1.5", "min_confidence: input should be less than or equal to 1, not '1.5'"),
        ("min_confidence", "nan", "min_confidence: input should be less than or equal to 1, not 'nan'"),
        ("max_faces", "0", "max_faces: input should be greater than or equal to 1, not '0'"),
        ("max_faces", "many", "max_faces: input should be a valid integer"),
        ("detail", "ultra", "detail: input should be 'normal' or 'high', not 'ultra'"),
        ("attributes", "age,height", "attributes: input should be 'age' or 'gender', not 'height'"),
        (
            "colour",
            "red",
            "colour: there is no such option; the options are attributes, min_confidence, max_faces, detail",
        ),
    ],
)
def test_a_bad_option_is_refused_with_its_name_and_range(name: str, value: str, expected: str) -> None:
    with pytest.raises(BadOption) as refused:
        read((name, value))
    assert expected in refused.value.detail


def test_a_repeated_option_is_refused() -> None:
    with pytest.raises(BadOption, match="max_faces: given more than once"):
        read(("max_faces", "1"), ("max_faces", "2"))


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, wait=2", 2),
        ('WAIT = "0.5" ; x=1, wait=9', 0.5),
        ("wait=0", 0),
        ("", 7),
        ("wait", 7),
        ("wait=-1", 7),
        ("wait=nan", 7),
        ("wait=1e9", 7),
        ("wait=" + "9" * 400, 7),
        ("waiting=3", 7),
    ],
)
def test_the_wait_preference_is_parsed(prefer: str, seconds: float) -> None:
    assert parse_wait(prefer, default=7) == seconds
