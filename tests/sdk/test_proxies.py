"""Which proxy stands before an upstream."""

from __future__ import annotations

import pytest

from kelt.errors import SettingsError
from kelt.proxies import proxy_for
from kelt.settings import load_settings

P = "http://proxy:3128"
FAR = "http://kelt.example.com:8470"


@pytest.mark.parametrize(
    ("url", "setting", "environ", "expected"),
    [
        (FAR, "", {}, ""),
        (FAR, "", {"HTTP_PROXY": P}, P),
        (FAR, "", {"HTTPS_PROXY": P}, ""),
        ("https://kelt.example.com", "", {"HTTPS_PROXY": P}, P),
        ("https://kelt.example.com", "", {"HTTP_PROXY": P}, ""),
        (FAR, "", {"http_proxy": P, "HTTP_PROXY": "http://other"}, P),
        (FAR, "", {"ALL_PROXY": P}, P),
        (FAR, "", {"HTTP_PROXY": "proxy:3128"}, P),
        (FAR, P, {}, P),
        (FAR, P, {"HTTP_PROXY": "http://other"}, P),
        (FAR, "none", {"HTTP_PROXY": P}, ""),
        (FAR, P, {"NO_PROXY": "kelt.example.com"}, ""),
        (FAR, P, {"NO_PROXY": "a, .example.com"}, ""),
        (FAR, P, {"no_proxy": "example.com"}, ""),
        (FAR, P, {"NO_PROXY": "*.example.com"}, ""),
        (FAR, P, {"NO_PROXY": "*"}, ""),
        (FAR, P, {"NO_PROXY": "example.com:8470"}, ""),
        (FAR, P, {"NO_PROXY": "example.com:1"}, P),
        (FAR, P, {"NO_PROXY": "ample.com,,example.org"}, P),
        ("http://10.1.2.3:1", P, {"NO_PROXY": "10.0.0.0/8"}, ""),
        ("http://10.1.2.3:1", P, {"NO_PROXY": "10.2.0.0/16"}, P),
        ("http://[fd00::1]:1", P, {"NO_PROXY": "fd00::/8"}, ""),
        ("http://127.0.0.1:1", P, {}, ""),
        ("http://127.9.9.9:1", P, {"HTTP_PROXY": P}, ""),
        ("http://[::1]:1", P, {}, ""),
        ("http://LOCALHOST:1", P, {}, ""),
    ],
)
def test_the_proxy_for_an_upstream(url, setting, environ, expected):
    assert proxy_for(url, proxy=setting, environ=environ) == expected


@pytest.mark.parametrize(
    "proxy", ["socks5://p:1", "https://p:1", "p:1", "http://", "http://u:pw-x@"]
)
def test_a_proxy_that_cannot_be_used_is_one_sentence_that_shows_no_password(proxy):
    with pytest.raises(SettingsError, match="http://proxy:3128") as refused:
        load_settings({"proxy": proxy}, {"KELT_CONFIG": "/dev/null"})
    assert "pw-x" not in str(refused.value)


def test_a_ca_file_is_made_absolute_because_the_daemon_runs_elsewhere():
    found = load_settings({}, {"KELT_CONFIG": "/dev/null", "KELT_CA_FILE": "here/ca.pem"}).ca_file
    assert found is not None
    assert found.is_absolute()
