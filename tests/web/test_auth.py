"""API keys, and the identification of clients by key or address."""

import hmac
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from pydantic import ValidationError

from faceattr_aio.config.schema import AuthConfig, Config
from faceattr_aio.errors import StartError, Unauthorized
from faceattr_aio.web.auth import ApiKeys, Authenticator

KEY, OTHER = "one-key-of-sixteen", "another-of-sixteen"
PROXIES = ("10.0.0.0/8", "2001:db8:1::/48")


def asking(remote: str, *headers: tuple[str, str]) -> web.BaseRequest:
    return make_mocked_request("POST", "/", headers=CIMultiDict(headers)).clone(remote=remote)


def by_address(remote: str, *forwarded: str, proxies: Sequence[str] = ()) -> str:
    clients = Authenticator(ApiKeys(), [ip_network(one) for one in proxies])
    return clients.identify(asking(remote, *(("X-Forwarded-For", line) for line in forwarded)))


def by_key(*headers: tuple[str, str], remote: str = "192.0.2.1") -> str:
    return Authenticator(ApiKeys(AuthConfig.model_validate({"keys": [KEY, OTHER]}).keys)).identify(
        asking(remote, *headers)
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("", "192.0.2.1", False),
        ("/run/socket", "", True),
    ],
)
def test_the_client_is_the_address_or_the_ipv6_network(one: str, other: str, same: bool) -> None:
    assert (by_address(one) == by_address(other)) is same


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8:1::5", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.1", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.1, 198.51.100.7, 10.2.2.2 ,10.3.3.3"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.1, 198.51.100.7", "10.2.2.2"], "198.51.100.7"),
        ("10.0.0.1", ["10.4.4.4, 10.2.2.2"], "10.4.4.4"),
        ("10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::/64"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::/64"),
        ("10.0.0.1", ["203.0.113.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, unknown, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", ["203.0.113.1,,"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, \u20ac"], "10.0.0.1"),
        ("10.0.0.1", ["[, ], [], [:, :::, 1.2.3.4.5, 999.1.1.1, 1.2.3.4/8, %, ::1%"], "10.0.0.1"),
        ("10.0.0.1", ["10.1.1.1," * 100_000], "10.0.0.1"),
        ("", ["198.51.100.7"], "local"),
    ],
)
def test_the_client_behind_trusted_proxies_is_the_nearest_untrusted_address(
    remote: str, forwarded: list[str], client: str
) -> None:
    assert by_address(remote, *forwarded, proxies=PROXIES) == client


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Bearer {KEY}")],
        [("authorization", f"bEARER   {KEY} ")],
        [("X-API-Key", KEY)],
        [("x-api-key", KEY), ("Authorization", "Basic dTpw")],
        [("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}")],
        [("X-API-Key", KEY), ("Authorization", "Bearer wrong")],
        [("X-API-Key", "wrong"), ("Authorization", f"Bearer {KEY}")],
    ],
)
def test_a_key_identifies_the_client_from_any_address(headers: list[tuple[str, str]]) -> None:
    name = by_key(*headers)
    assert name == by_key(("X-API-Key", KEY), remote="198.51.100.7") != by_key(("X-API-Key", OTHER))
    assert KEY not in name


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-API-Key", "")],
        [("X-API-Key", f"Bearer {KEY}")],
        [("X-API-Key", KEY[:-1])],
        [("X-API-Key", "wrong"), ("X-API-Key", KEY)],
        [("X-API-Key", "\u20ac")],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", KEY)],
        [("Authorization", f"Bearer{KEY}")],
        [("Authorization", f"Basic {KEY}")],
        [("Authorization", f"Bearer Bearer {KEY}")],
        [("Authorization", f"Bearer {KEY}, Bearer {KEY}")],
        [("Authorization", "B\u20acarer \u20ac")],
        [("Cookie", KEY)],
    ],
)
def test_a_request_without_an_accepted_key_is_unauthorized(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthorized):
        by_key(*headers)


ONE, TWO = "one-key-of-sixteen", "another-of-sixteen"


def api_keys(*keys: str, file: Path | None = None) -> ApiKeys:
    return ApiKeys(AuthConfig.model_validate({"keys": keys}).keys, file)


def test_only_an_accepted_key_has_a_name() -> None:
    keys = api_keys(ONE, TWO)
    assert keys.name_of(ONE)
    for shown in ("", " ", ONE[:-1], f"{ONE} ", ONE.upper(), f"{ONE},{TWO}", "\u20ac", "\udcff", "\ud800"):
        assert keys.name_of(shown) is None


def test_the_name_of_a_key_is_stable_and_does_not_reveal_it() -> None:
    name = api_keys(ONE, TWO).name_of(ONE)
    assert name
    assert name == api_keys(ONE).name_of(ONE) != api_keys(TWO).name_of(TWO)
    assert ONE not in name


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    keys = api_keys(*(f"{number}-{ONE}" for number in range(9)))
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for shown in (f"0-{ONE}", f"8-{ONE}", "x", ""):
        compared.clear()
        keys.name_of(shown)
        assert len(compared) == 9
        assert {len(one) for pair in compared for one in pair} == {32}


def test_keys_of_a_file_are_added_to_those_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# for the web page\n\n  {TWO}  \r\n")
    both = api_keys(ONE, file=file)
    assert both.required
    assert both.name_of(ONE)
    assert both.name_of(TWO)
    assert both.name_of("# for the web page") is None


def test_no_key_is_required_without_keys() -> None:
    assert not api_keys().required
    assert api_keys().name_of("") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"\xff\xfe", "cannot be read: it is not UTF-8 text."),
        (b"", "has no key"),
        (b"# none yet\n\n", "has no key"),
        (b"# comment\nhush-hush\n", "Line 2 of"),
        (b"hush-hush hush-hush-hush\n", "Line 1 of"),
        ("hush-hush-hush-h\u00fcsh\n".encode(), "Line 1 of"),
        (b"hush-hush\x00-hush-hush\n", "Line 1 of"),
    ],
)
def test_an_unusable_key_file_raises_a_sentence_that_contains_no_key(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartError) as refused:
        api_keys(file=file)
    assert message in str(refused.value)
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
def test_the_traceback_of_an_invalid_key_does_not_contain_it(auth: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"auth": auth})
    assert "hush" not in str(refused.value).replace("auth.keys.hush", "")


def test_settings_do_not_print_their_keys() -> None:
    config = Config.model_validate({"auth": {"keys": [ONE]}})
    assert ONE not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
