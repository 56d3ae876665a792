"""VPC and EIP: where a server can be plugged in, and the addresses that must not stay behind."""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable

from backup_to_image.model import PublicIp, SecurityGroup, SecurityRule, Subnet, Vpc
from backup_to_image.otc.calls import Query
from backup_to_image.otc.session import Session, pages
from backup_to_image.otc.wire import Body, maybe, moment, need, need_parts, parts, text, whole

__all__ = ["Networks", "PublicIps"]

_PAGE = 500


class Networks:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def vpcs(self) -> list[Vpc]:
        rows = [one async for one in pages(_reader(self._session, "listVpcs", "vpcs", "vpcs"), _PAGE, "listVpcs")]
        return [
            Vpc(id=need(one, "id", "listVpcs"), name=text(one, "name"), cidr=text(one, "cidr"), status=text(one, "status"))
            for one in rows
        ]

    async def subnets(self, vpc_id: str | None = None) -> list[Subnet]:
        """Subnets of one VPC or of all."""
        fetch = _reader(self._session, "listSubnets", "subnets", "subnets", {"vpc_id": vpc_id})
        return [
            Subnet(
                id=need(one, "id", "listSubnets"),
                name=text(one, "name"),
                vpc_id=need(one, "vpc_id", "listSubnets"),
                cidr=text(one, "cidr"),
                gateway=maybe(one, "gateway_ip"),
                status=text(one, "status"),
            )
            async for one in pages(fetch, _PAGE, "listSubnets")
        ]

    async def security_groups(self) -> list[SecurityGroup]:
        fetch = _reader(self._session, "listSecurityGroups", "security-groups", "security_groups")
        return [
            SecurityGroup(
                id=need(one, "id", "listSecurityGroups"),
                name=text(one, "name"),
                vpc_id=maybe(one, "vpc_id"),
                rules=tuple(_rule(rule) for rule in parts(one, "security_group_rules")),
            )
            async for one in pages(fetch, _PAGE, "listSecurityGroups")
        ]


def _rule(body: Body) -> SecurityRule:
    return SecurityRule(
        direction=text(body, "direction"),
        ip_version=text(body, "ethertype"),
        protocol=text(body, "protocol"),
        first_port=whole(body, "port_range_min"),
        last_port=whole(body, "port_range_max"),
        remote_net=text(body, "remote_ip_prefix"),
        remote_group=text(body, "remote_group_id", "remote_address_group_id"),
    )


class PublicIps:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def list(self) -> builtins.list[PublicIp]:
        """All EIPs of the project; one with status DOWN is bound to nothing and still billed."""
        return [
            PublicIp(
                id=need(one, "id", "listPublicIps"),
                status=need(one, "status", "listPublicIps"),
                address=text(one, "public_ip_address"),
                private_address=maybe(one, "private_ip_address"),
                port_id=maybe(one, "port_id"),
                created_at=moment(one, "create_time"),
            )
            async for one in pages(_reader(self._session, "listPublicIps", "publicips", "publicips"), _PAGE, "listPublicIps")
        ]

    async def delete(self, public_ip_id: str) -> None:
        """Release an address. Safe to repeat: NotFound then means released. A bound one is refused (VPC.0517)."""
        await self._session.call(
            "deletePublicIp", "DELETE", f"/v1/{{project}}/publicips/{public_ip_id}", subject=f"address {public_ip_id}"
        )


def _reader(
    session: Session, operation: str, path: str, rows: str, query: Query | None = None
) -> Callable[[str | None], Awaitable[list[Body]]]:
    async def fetch(marker: str | None) -> list[Body]:
        asked: Query = {**(query or {}), "limit": str(_PAGE), "marker": marker}
        return need_parts(await session.json(operation, "GET", f"/v1/{{project}}/{path}", query=asked), rows, operation)

    return fetch
