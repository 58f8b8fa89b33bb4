"""The failures: unique types, pickling, and defaults."""

import pickle

import pytest

from faceattr_aio import errors
from faceattr_aio.errors import DeadlineExceeded, FaceattrError, Overloaded, RateLimited, RetryableError, UploadTooLarge


def all_failures() -> list[type[FaceattrError]]:
    return [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FaceattrError)]


def test_every_failure_has_a_unique_type() -> None:
    kinds = [failure.kind for failure in all_failures() if failure not in {FaceattrError, RetryableError}]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("failure", all_failures(), ids=lambda one: one.__name__)
def test_a_failure_can_be_pickled(failure: type[FaceattrError]) -> None:
    error = failure("what happened", log="why", limit=4)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is failure
    assert (copy.detail, copy.log, copy.members, str(copy)) == ("what happened", "why", {"limit": 4}, "what happened")


@pytest.mark.parametrize("failure", [Overloaded, RateLimited])
def test_the_retry_time_is_pickled_too(failure: type[RetryableError]) -> None:
    assert pickle.loads(pickle.dumps(failure("full", retry_after_s=3.5))).retry_after_s == 3.5


def test_a_cause_is_logged_and_not_sent_to_the_client() -> None:
    error = DeadlineExceeded.from_exception(ValueError("a path"), "Too late.")
    assert error.detail == "Too late."
    assert error.log == "ValueError: a path"


def test_the_default_detail_is_that_of_the_class_or_its_title() -> None:
    assert DeadlineExceeded().detail == DeadlineExceeded.default_detail
    assert Overloaded.default_detail in Overloaded().detail
    assert UploadTooLarge().detail == "The upload is too large."
