"""What is told of a URL: where it leads, and nothing that may be a secret."""

from __future__ import annotations

import pytest

from ticketmaster.urls import told

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://registry:8081/api", "http://registry:8081/api"),
        (f"http://ann:{SECRET}@registry:8081/api", "http://registry:8081/api"),
        (f"https://{SECRET}@registry", "https://registry"),
        (f"http://registry:8081/?token={SECRET}", "http://registry:8081/"),
        (f"http://registry:8081/#{SECRET}", "http://registry:8081/"),
        # A slash in a password that was not written %2F ends the host before it.
        (f"http://ann:12/{SECRET}@registry:8081", "http://ann:12"),
        (f"http://a:b@ann:12/{SECRET}@registry:8081/x", "http://ann:12"),
        ("http://[::1]:8081/x", "http://[::1]:8081/x"),
    ],
)
def test_a_url_is_told_without_credentials_query_and_fragment(url: str, shown: str) -> None:
    assert told(url) == shown
