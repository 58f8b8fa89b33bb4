"""Any header and any query is accepted or gets a documented error."""

import json
import uuid

from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from faceattr_aio.errors import BadOption, NotAcceptable
from faceattr_aio.pipelines.faces import FaceOptions
from faceattr_aio.schemas import problem_body
from faceattr_aio.telemetry.record import record_of
from faceattr_aio.uploads.receive import is_accepted
from faceattr_aio.web.params import choose_media_type, parse_options
from tests.fuzz.tally import Tally

OFFERED = ("application/json", "image/jpeg", "image/png")

ascii_text = st.text(st.characters(max_codepoint=127), max_size=60)
ranges = st.builds(
    "{}/{}{}".format,
    st.sampled_from(("*", "image", "application", "IMAGE", "")),
    st.sampled_from(("*", "json", "png", "jpeg", "+json", "")),
    st.one_of(st.floats().map(";q={}".format), st.just(""), ascii_text.map(";{}".format)),
)
values = st.text(st.characters(codec=None), max_size=12)


@given(accept=st.lists(st.one_of(ranges, ascii_text), max_size=6).map(",".join))
def test_any_accept_gets_an_offered_type_or_not_acceptable(accept: str, tally: Tally) -> None:
    try:
        chosen = choose_media_type(accept, OFFERED)
    except NotAcceptable:
        tally.counts["NotAcceptable"] += 1
        return
    assert chosen in OFFERED
    tally.counts[chosen] += 1


shares = st.one_of(st.floats(-0.1, 1.1).map(str), st.sampled_from(("nan", "inf", "")))
counts = st.one_of(st.integers(-1, 1100).map(str), st.sampled_from(("1_0", "1e2", "\u0661")))
pairs = st.one_of(
    st.tuples(st.just("attributes"), st.sampled_from(("age", "gender,age", "", ",", "age height"))),
    st.tuples(st.just("max_faces"), counts),
    st.tuples(st.just("min_confidence"), shares),
    st.tuples(st.just("detail"), st.sampled_from(("normal", "high", "HIGH"))),
    st.tuples(st.one_of(st.sampled_from((*FaceOptions.model_fields, "", "self")), values), values),
)


@given(pairs=st.lists(pairs, max_size=2))
def test_any_query_gives_options_or_an_error_with_a_sentence(pairs: list[tuple[str, str]], tally: Tally) -> None:
    try:
        options = parse_options(MultiDict(pairs), FaceOptions)
    except BadOption as refusal:
        _check_sentence(refusal, tally)
        return
    assert isinstance(options, FaceOptions)
    assert 1 <= options.max_faces <= 1000
    assert 0 <= options.min_confidence <= 1
    tally.counts["options"] += 1


def _check_sentence(refusal: BadOption, tally: Tally) -> None:
    document = json.dumps(problem_body(refusal, "id")).encode()
    assert json.loads(document)["detail"].endswith(".")
    tally.counts["BadOption"] += 1


@given(sent=st.one_of(st.text(st.characters(codec="utf-8"), max_size=140), st.text("aZ0._:+/=@-", max_size=140)))
def test_a_request_id_is_that_of_the_client_or_generated_and_always_valid(sent: str, tally: Tally) -> None:
    request = make_mocked_request("GET", "/", CIMultiDict({"X-Request-ID": sent}))
    used = record_of(request).id
    assert record_of(request).id == used
    assert used == sent or uuid.UUID(used).hex == used
    assert used.isascii()
    assert 1 <= len(used) <= 128
    assert not set(used) & set(' "<>\\\r\n\t')
    tally.counts["of the client" if used == sent else "generated"] += 1


kinds = st.sampled_from(("image/png", "IMAGE/*", "multipart/form-data", "application/octet-stream", "text/html"))


@given(content_type=st.one_of(ascii_text, kinds, st.builds("{};{}".format, kinds, ascii_text)))
def test_any_content_type_is_accepted_or_not(content_type: str, tally: Tally) -> None:
    tally.counts[str(is_accepted(content_type))] += 1
