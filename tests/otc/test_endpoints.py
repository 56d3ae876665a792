from typing import Any

import pytest

from backup_to_image.errors import UsageError
from backup_to_image.otc.credentials import is_loopback
from backup_to_image.otc.endpoints import Endpoints, Service, base_of
from tests.otc.stage import HOST, PROJECT, catalog, credentials


def entry(
    url: str, *, kind: str = "ecs", name: str = "ecs", interface: str = "public", region: str | None = "eu-de"
) -> dict[str, Any]:
    return {
        "type": kind,
        "name": name,
        "endpoints": [{"interface": interface, "region": region, "region_id": region, "url": url}],
    }


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://ims.x", "https://ims.x"),
        ("https://ims.x/", "https://ims.x"),
        (f"https://cbr.x/v3/{PROJECT}", "https://cbr.x"),
        (f"https://ecs.x:8443/v2.1/{PROJECT}", "https://ecs.x:8443"),
        (f"https://gate.x/cloud/ecs/v1/{PROJECT}", "https://gate.x/cloud/ecs"),
        ("https://gate.x/volumes", "https://gate.x/volumes"),
        ("https://iam.x:443/v3/", "https://iam.x:443"),
    ],
)
def test_the_origin_and_what_stands_before_the_version_are_kept(url: str, base: str) -> None:
    assert base_of(url) == base


@pytest.mark.parametrize("service", ["ims", "cbr", "ecs", "evs", "vpc", "eip", "iam"])
def test_each_service_is_found_in_the_known_shapes(service: Service) -> None:
    host = {"iam": f"iam.{HOST}:443", "eip": f"vpc.{HOST}"}.get(service, f"{service}.{HOST}")
    assert Endpoints(catalog(), credentials(), "eu-de").base(service) == f"https://{host}"


@pytest.mark.parametrize(
    "only",
    [
        entry("https://ecs.x/v1/p"),
        entry("https://ecs.x/v2.1/p", kind="compute", name="nova"),
        entry("https://ecs.x/v1/p", kind="COMPUTE", name="something"),
        entry("https://ecs.x/v1/p", interface="publicURL"),
        entry("https://ecs.x/v1/p", region=None),
        entry("https://ecs.x/v1/p", region="*"),
        entry("https://ecs.x/v1/p", region=""),
    ],
)
def test_an_entry_serves_under_each_name_and_without_a_region_everywhere(only: dict[str, Any]) -> None:
    assert Endpoints([only], credentials(), "eu-de").base("ecs") == "https://ecs.x"


@pytest.mark.parametrize(
    "only",
    [entry("https://ecs.x/v1/p", region="eu-nl"), entry("https://ecs.x/v1/p", interface="internal"), entry("", region="eu-de")],
)
def test_an_endpoint_of_another_region_or_interface_is_not_taken(only: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no public endpoint of ecs in region eu-de"):
        Endpoints([only], credentials(), "eu-de").base("ecs")


def test_the_own_region_goes_before_anywhere() -> None:
    both = [{**entry("https://any.x/v1/p", region=None)}]
    both[0]["endpoints"] += entry("https://here.x/v1/p")["endpoints"]
    assert Endpoints(both, credentials(), "eu-de").base("ecs") == "https://here.x"


def test_an_endpoint_set_by_hand_goes_before_the_catalog() -> None:
    by_hand = credentials(endpoint_overrides={"ims": "https://my-ims.x/v2"})
    assert Endpoints(catalog(), by_hand, "eu-de").base("ims") == "https://my-ims.x"


@pytest.mark.parametrize(
    ("url", "fine"), [("http://127.0.0.5:8775", True), ("http://[::1]:8775", True), ("http://10.0.0.5", False)]
)
def test_clear_text_is_for_loopback_alone(url: str, fine: bool) -> None:
    endpoints = Endpoints([entry(url, kind="image", name="glance")], credentials(), "eu-de")
    if fine:
        assert endpoints.base("ims") == url
    else:
        with pytest.raises(UsageError, match="http://"):
            endpoints.base("ims")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.example", False),
        ("8.8.8.8", False),
    ],
)
def test_loopback_is_known_by_its_spelling(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"auth_url": "iam.x/v3"}, "no address"),
        ({"auth_url": "http://iam.x/v3"}, "in clear"),
        ({"verify": False}, "loopback"),
        ({"password": "****"}, "asterisks"),
        ({"username": None}, "username"),
        ({"user_domain_name": None}, "user_domain_name"),
        ({"project_name": None}, "project_name"),
        ({"access_key": "AK"}, "sk: is missing"),
    ],
)
def test_credentials_say_what_is_wrong_with_them_before_they_are_sent(wrong: dict[str, Any], words: str) -> None:
    (problem,) = credentials(**{"user_domain_id": None} | wrong).problems()
    assert words in problem
