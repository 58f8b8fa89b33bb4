import pytest

from faceattr_aio.telemetry.record import RequestRecord


def test_the_stages_of_all_pictures_add_up_and_keep_their_order() -> None:
    story = RequestRecord(
        "id", "POST", laps=[{"upload": 1.0}, {"queue": 2.0, "decode": 0.25}, {"queue": 3.0, "decode": 0.5}]
    )
    assert story.stages == {"upload": 1.0, "queue": 5.0, "decode": 0.75}
    assert story.timing == "upload;dur=1.00, queue;dur=5.00, decode;dur=0.75"


@pytest.mark.parametrize(
    ("status", "refused", "failed"),
    [(200, False, False), (404, False, False), (429, True, False), (503, True, False), (500, False, True)],
)
def test_a_refusal_is_no_failure(status: int, refused: bool, failed: bool) -> None:
    story = RequestRecord("id", "POST", status=status)
    assert (story.refused, story.failed) == (refused, failed)


def test_the_end_of_the_upload_is_its_first_stage() -> None:
    story = RequestRecord("id", "POST")
    story.since -= 2.0
    story.end_upload(3)
    assert story.pictures == 3
    assert list(story.stages) == ["upload"]
    assert 2000 <= story.stages["upload"] < 60_000


def test_what_was_counted_has_a_field_of_its_own() -> None:
    story = RequestRecord("id", "POST", status=200, seconds=0.0123, laps=[{"upload": 1.23456}])
    story.counts.update({"faces": 2})
    fields = story.fields()
    assert (fields["id"], fields["faces"], fields["ms"], fields["stages_ms"]) == ("id", 2, 12.3, {"upload": 1.23})
