"""Networks: what a launch order can name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .region import Region, region


@pytest.fixture
async def cloud() -> AsyncIterator[Region]:
    async with region() as place:
        yield place


async def test_networks_lie_in_loopback_alone_and_subnets_in_their_vpc(cloud: Region) -> None:
    vpcs = {vpc["id"]: vpc for vpc in (await cloud.get("vpc", "/v1/{p}/vpcs"))["vpcs"]}
    subnets = (await cloud.get("vpc", "/v1/{p}/subnets"))["subnets"]
    assert all(vpc["cidr"].startswith("127.") for vpc in vpcs.values())
    assert {subnet["name"]: vpcs[subnet["vpc_id"]]["name"] for subnet in subnets} == {
        "shop-net": "shop-vpc",
        "shop-db-net": "shop-vpc",
        "drill-net": "drill-vpc",
    }
    assert all(subnet["neutron_network_id"] == subnet["id"] != subnet["neutron_subnet_id"] for subnet in subnets)


async def test_lists_are_paged_by_marker(cloud: Region) -> None:
    for kind, key in (("vpcs", "vpcs"), ("subnets", "subnets"), ("security-groups", "security_groups")):
        everything = [entry["id"] for entry in (await cloud.get("vpc", f"/v1/{{p}}/{kind}"))[key]]
        paged: list[str] = []
        while page := (await cloud.get("vpc", f"/v1/{{p}}/{kind}", limit=1, **({"marker": paged[-1]} if paged else {})))[key]:
            paged.append(page[0]["id"])
        assert paged == everything
        assert (await cloud.get("vpc", f"/v1/{{p}}/{kind}", limit=0))[key] == []


async def test_lists_can_be_narrowed_to_one_vpc(cloud: Region) -> None:
    drill = next(vpc["id"] for vpc in (await cloud.get("vpc", "/v1/{p}/vpcs"))["vpcs"] if vpc["name"] == "drill-vpc")
    assert [vpc["id"] for vpc in (await cloud.get("vpc", "/v1/{p}/vpcs", id=drill))["vpcs"]] == [drill]
    assert [subnet["name"] for subnet in (await cloud.get("vpc", "/v1/{p}/subnets", vpc_id=drill))["subnets"]] == ["drill-net"]
    groups = (await cloud.get("vpc", "/v1/{p}/security-groups", vpc_id=drill))["security_groups"]
    assert [group["name"] for group in groups] == ["drill-sg"]
    nothing_out = {rule["direction"] for rule in groups[0]["security_group_rules"]}
    assert nothing_out == {"ingress"}
    assert (await cloud.get("vpc", "/v1/{p}/vpcs", enterprise_project_id="11111111-0000-4000-8000-000000000000"))["vpcs"] == []


@pytest.mark.parametrize(("kind", "code"), [("vpcs", "VPC.0101"), ("subnets", "VPC.0201"), ("security-groups", "VPC.0601")])
async def test_a_wrong_parameter_is_refused_in_the_words_of_what_was_asked_for(cloud: Region, kind: str, code: str) -> None:
    assert await cloud.refused("GET", "vpc", f"/v1/{{p}}/{kind}", limit=2001) == (400, code)
    assert await cloud.refused("GET", "vpc", f"/v1/{{p}}/{kind}", marker="nobody") == (400, code)


async def test_a_project_sees_its_own_networks_only(cloud: Region) -> None:
    await cloud.log_in(cloud.account["recipient"])
    assert {vpc["name"] for vpc in (await cloud.get("vpc", "/v1/{p}/vpcs"))["vpcs"]} == {"partner-vpc", "partner-drill-vpc"}
