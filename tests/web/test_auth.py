from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from faceattr_aio.config.schema import AuthConfig
from faceattr_aio.errors import Unauthorized
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
def test_an_address_is_a_client_and_with_ipv6_its_network(one: str, other: str, same: bool) -> None:
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
def test_a_listed_proxy_is_believed_about_the_nearest_address_that_is_none(
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
def test_a_key_lets_in_and_names_the_client_wherever_it_asks_from(headers: list[tuple[str, str]]) -> None:
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
def test_without_a_key_that_fits_nobody_is_let_in(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthorized):
        by_key(*headers)
