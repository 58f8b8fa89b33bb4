import pickle

import pytest

from faceattr_aio import errors
from faceattr_aio.errors import DeadlineExceeded, FaceattrError, Overloaded, RateLimited, RetryableError


def all_failures() -> list[type[FaceattrError]]:
    return [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FaceattrError)]


def test_every_failure_has_a_kind_of_its_own() -> None:
    kinds = [failure.kind for failure in all_failures() if failure not in {FaceattrError, RetryableError}]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("failure", all_failures(), ids=lambda one: one.__name__)
def test_a_failure_survives_the_way_from_a_worker(failure: type[FaceattrError]) -> None:
    sent = failure("what happened", log="why", limit=4)
    came = pickle.loads(pickle.dumps(sent))
    assert type(came) is failure
    assert (came.detail, came.log, came.members, str(came)) == ("what happened", "why", {"limit": 4}, "what happened")


@pytest.mark.parametrize("failure", [Overloaded, RateLimited])
def test_the_time_to_come_back_survives_too(failure: type[RetryableError]) -> None:
    assert pickle.loads(pickle.dumps(failure("full", retry_after_s=3.5))).retry_after_s == 3.5


def test_a_cause_goes_to_the_log_and_not_to_the_client() -> None:
    error = DeadlineExceeded.because(ValueError("a path"), "Too late.")
    assert error.detail == "Too late."
    assert error.log == "ValueError: a path"
