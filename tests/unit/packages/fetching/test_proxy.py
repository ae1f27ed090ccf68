"""Which proxy the environment names for an address."""

import pytest
from yarl import URL

from vconnect.packages.fetching.proxy import is_private_name, proxy_for

HTTPS = {"HTTPS_PROXY": "http://proxy.example:3128"}


def proxy(url: str, **environ: str) -> str:
    found = proxy_for(URL(url), environ)
    return "" if found is None else f"{found.url} of {found.variable}"


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        ("https://h/a", {}, ""),
        ("https://h/a", HTTPS, "http://proxy.example:3128 of HTTPS_PROXY"),
        ("http://h/a", HTTPS, ""),
        ("http://h/a", {"http_proxy": "p:8"}, "http://p:8 of http_proxy"),
        ("http://h/a", {"HTTP_PROXY": "p:8"}, "http://p:8 of HTTP_PROXY"),
        ("http://h/a", {"HTTP_PROXY": "p:8", "REQUEST_METHOD": "GET"}, ""),
        ("https://h/a", {**HTTPS, "https_proxy": "p:8"}, "http://p:8 of https_proxy"),
        ("https://h/a", {"ALL_PROXY": "https://p:8"}, "https://p:8 of ALL_PROXY"),
        ("https://h/a", {"HTTPS_PROXY": "http://p"}, "http://p of HTTPS_PROXY"),
        ("https://h/a", {"HTTPS_PROXY": " "}, ""),
        ("https://localhost/a", HTTPS, ""),
        ("http://127.0.0.1:8/a", {"HTTP_PROXY": "p:8"}, ""),
        ("http://[::1]/a", {"HTTP_PROXY": "p:8"}, ""),
    ],
)
def test_the_variable_of_the_scheme_counts(url, environ, expected):
    assert proxy(url, **environ) == expected


@pytest.mark.parametrize(
    ("exempt", "is_direct"),
    [
        ("*", True),
        ("h.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("other, example.com", True),
        ("EXAMPLE.com:8443", True),
        ("example.com:443", False),
        ("ample.com", False),
        ("10.0.0.0/8", False),
        ("", False),
        (", ,", False),
    ],
)
def test_hosts_without_a_proxy(exempt, is_direct):
    found = proxy("https://h.example.com:8443/a", **HTTPS, NO_PROXY=exempt)
    assert (found == "") is is_direct


@pytest.mark.parametrize(
    ("host", "exempt", "is_direct"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "[fd00::1]", True),
    ],
)
def test_networks_without_a_proxy(host, exempt, is_direct):
    assert (proxy(f"https://{host}/a", **HTTPS, no_proxy=exempt) == "") is is_direct


def test_credentials_are_no_part_of_the_address():
    found = proxy_for(URL("https://h/a"), {"HTTPS_PROXY": "http://me:s%40cret@p:8"})
    assert found is not None
    assert found.headers == {"Proxy-Authorization": "Basic bWU6c0BjcmV0"}
    assert str(found) == "the proxy p:8 of HTTPS_PROXY"
    assert "cret" not in str(found.url)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("socks5://p:1080", "socks5:// proxy, which is not supported"),
        ("http://", "not the address of a proxy"),
        ("http://me:secret@p:99999", "not the address of a proxy"),
        ("http://[::1", "not the address of a proxy"),
    ],
)
def test_what_is_no_proxy(text, words):
    with pytest.raises(ValueError, match=words) as caught:
        proxy("https://h/a", HTTPS_PROXY=text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("intranet", True),
        ("wiki.corp", True),
        ("a.b.internal.", True),
        ("x.home.arpa", True),
        ("example.com", False),
        ("local.example.com", False),
    ],
)
def test_names_that_can_only_be_private(name, expected):
    assert is_private_name(name) is expected
