"""Elastic IPs: listed by either endpoint, released when nothing is bound to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .region import Region, region

_EIP = {"eip": {"iptype": "5_bgp", "bandwidth": {"size": 5, "sharetype": "PER", "chargemode": "traffic"}}}


@pytest.fixture
async def cloud() -> AsyncIterator[Region]:
    async with region() as place:
        yield place


async def test_a_bound_address_is_refused_and_an_unbound_one_released(cloud: Region) -> None:
    server = await cloud.launched(publicip=_EIP)
    (publicip,) = await cloud.publicips()
    path = f"/v1/{{p}}/publicips/{publicip['id']}"
    assert await cloud.refused("DELETE", "eip", path) == (409, "VPC.0517")
    await cloud.delete_server(server)
    await cloud.pass_time(20)
    (left,) = await cloud.publicips()
    assert (left["status"], "port_id" in left, left["bandwidth_size"]) == ("DOWN", False, 5)
    assert (await cloud.ask("DELETE", "eip", path)).status_code == 204
    assert await cloud.publicips() == []
    assert await cloud.refused("DELETE", "eip", path) == (404, "VPC.0504")


async def test_an_address_that_was_kept_can_be_bound_again(cloud: Region) -> None:
    await cloud.delete_server(await cloud.launched(publicip=_EIP))
    await cloud.pass_time(20)
    (kept,) = await cloud.publicips()
    await cloud.launched(publicip={"id": kept["id"]})
    (bound,) = await cloud.publicips()
    assert (bound["id"], bound["status"]) == (kept["id"], "ACTIVE")


async def test_addresses_are_loopback_and_paged_by_marker(cloud: Region) -> None:
    await cloud.launch(publicip=_EIP, count=3)
    everything = await cloud.publicips()
    assert all(publicip["public_ip_address"].startswith("127.") for publicip in everything)
    rest = await cloud.get("eip", "/v1/{p}/publicips", marker=everything[0]["id"], limit=1)
    assert rest["publicips"] == everything[1:2]
    assert await cloud.refused("GET", "eip", "/v1/{p}/publicips", limit=2001) == (400, "VPC.0501")
    assert await cloud.refused("GET", "eip", "/v1/{p}/publicips", marker="nobody") == (400, "VPC.0501")


async def test_the_vpc_endpoint_serves_them_too_and_others_do_not_see_them(cloud: Region) -> None:
    await cloud.launch(publicip=_EIP)
    (publicip,) = (await cloud.get("vpc", "/v1/{p}/publicips"))["publicips"]
    await cloud.log_in(cloud.account["recipient"])
    assert await cloud.publicips() == []
    assert await cloud.refused("DELETE", "vpc", f"/v1/{{p}}/publicips/{publicip['id']}") == (404, "VPC.0504")
