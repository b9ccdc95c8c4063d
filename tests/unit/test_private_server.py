"""Which servers may be declared local."""

from __future__ import annotations

import pytest

pytest.importorskip("openai", reason="a model's server needs the extra [cloud]")

from switchtower.errors import ConfigurationError
from workers.providers.private import expect_private

INSIDE = [
    "http://127.0.0.1:8000/v1",
    "http://localhost:8000/v1",
    "http://[::1]:8000/v1",
    "http://10.1.2.3/v1",
    "https://172.31.0.9:8443/v1",
    "http://192.168.7.7/v1",
    "http://[fd00::7]/v1",
]
OUTSIDE = [
    "https://api.openai.com/v1",
    "http://203.0.113.7:8000/v1",
    "http://172.32.0.1/v1",
    "http://169.254.169.254/v1",
    "http://100.64.0.1/v1",
    "http://[2001:db8::1]/v1",
    "http://[::ffff:8.8.8.8]/v1",
    "http://0.0.0.0:8000/v1",
    "http://2130706433/v1",
    "http://localhost.example.com/v1",
    "http://127.0.0.1@example.com/v1",
    "http://vllm:8000/v1",
]


@pytest.mark.parametrize("url", INSIDE)
def test_the_house(url):
    expect_private(url, vouched=False)


@pytest.mark.parametrize("url", OUTSIDE)
def test_what_may_stand_outside_is_refused_until_somebody_vouches_for_it(url):
    with pytest.raises(ConfigurationError, match=r"private texts must not leave.*server_is_private = true"):
        expect_private(url, vouched=False)
    expect_private(url, vouched=True)


@pytest.mark.parametrize(
    "url", ["", "vllm:8000", "ftp://127.0.0.1/v1", "http:///v1", "unix:///run/vllm.sock", "http://[::1/"]
)
@pytest.mark.parametrize("vouched", [True, False])
def test_what_is_no_url_of_a_server_is_refused_in_any_case(url, vouched):
    with pytest.raises(ConfigurationError, match=r"local\.server_url"):
        expect_private(url, vouched=vouched)
