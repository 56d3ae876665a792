"""Networks, read only: VPCs, subnets, security groups (BEHAVIOUR.md 11: what a launch must name)."""

from __future__ import annotations

from .cloud import Cloud
from .paging import after_marker
from .routing import Operation
from .services import Service
from .wire import Answer, Call, Doc, Problem, Refusal

__all__ = ["SERVICE", "malformed"]

_PAGE = 2000

# The service's word for a parameter that is wrong, by what is asked for.
_BAD_PARAMETER = {"listVpcs": "VPC.0101", "listSubnets": "VPC.0201", "listSecurityGroups": "VPC.0601"}


def malformed(operation: Operation, problem: Problem) -> Refusal:
    """VPC's and EIP's words for a request that does not fit the contract."""
    if problem.where == "path" and problem.name == "project_id":
        return Refusal(400, "VPC.0007", problem.message)
    return Refusal(400, _BAD_PARAMETER.get(operation.id, "VPC.0501"), problem.message)


def list_vpcs(cloud: Cloud, call: Call) -> Answer:
    """listVpcs: the project's VPCs, one of them by id."""
    wanted = call.query.get("id")
    found = [vpc for vpc in _of_enterprise_project(cloud, call, "vpc") if wanted in {None, vpc["id"]}]
    body: list[Doc] = [
        {
            "id": vpc["id"],
            "name": vpc["name"],
            "cidr": vpc["cidr"],
            "status": vpc["status"],
            "description": vpc.get("description", ""),
            "routes": [],
            "enterprise_project_id": "0",
            "tenant_id": vpc["project"],
        }
        for vpc in _page(call, found)
    ]
    return Answer(200, {"vpcs": body})


def list_subnets(cloud: Cloud, call: Call) -> Answer:
    """listSubnets: the project's subnets, those of one VPC."""
    wanted = call.query.get("vpc_id")
    found = [subnet for subnet in cloud.walk("subnet", call.project) if wanted in {None, subnet["vpc_id"]}]
    body = [
        {
            "id": subnet["id"],
            "name": subnet["name"],
            "description": subnet.get("description", ""),
            "cidr": subnet["cidr"],
            "gateway_ip": subnet["gateway"],
            "vpc_id": subnet["vpc_id"],
            "status": "ACTIVE",
            "dhcp_enable": True,
            "ipv6_enable": False,
            "availability_zone": subnet.get("az"),
            "neutron_network_id": subnet["id"],
            "neutron_subnet_id": subnet["neutron_subnet_id"],
        }
        for subnet in _page(call, found)
    ]
    return Answer(200, {"subnets": body})


def list_security_groups(cloud: Cloud, call: Call) -> Answer:
    """listSecurityGroups: the project's groups. They belong to no VPC; `vpc_id` finds those made with it as a hint."""
    wanted = call.query.get("vpc_id")
    found = [group for group in _of_enterprise_project(cloud, call, "security-group") if wanted in {None, group.get("vpc_id")}]
    body = [
        {
            "id": group["id"],
            "name": group["name"],
            "description": group.get("description", ""),
            "vpc_id": group.get("vpc_id"),
            "enterprise_project_id": "0",
            "security_group_rules": _rules(group),
        }
        for group in _page(call, found)
    ]
    return Answer(200, {"security_groups": body})


def _rules(group: Doc) -> list[Doc]:
    """What a group lets through: from its members and, but for the default group, TCP from everywhere; out, if not isolated."""
    both: Doc = {"security_group_id": group["id"], "ethertype": "IPv4"}
    rules: list[Doc] = [{**both, "direction": "ingress", "remote_group_id": group["id"]}]
    if group["name"] != "default":
        rules.append({**both, "direction": "ingress", "protocol": "tcp", "remote_ip_prefix": "0.0.0.0/0"})
    if not group.get("isolated"):
        rules.append({**both, "direction": "egress", "remote_ip_prefix": "0.0.0.0/0"})
    return group.get("rules", rules)


def _of_enterprise_project(cloud: Cloud, call: Call, kind: str) -> list[Doc]:
    """Everything lies in the default enterprise project, 0."""
    return (
        list(cloud.walk(kind, call.project)) if call.query.get("enterprise_project_id", "0") in {"0", "all_granted_eps"} else []
    )


def _page(call: Call, found: list[Doc]) -> list[Doc]:
    page = after_marker(found, call.query.get("marker"), call.query.get("limit", _PAGE))
    if page is None:
        raise Refusal(400, _BAD_PARAMETER[call.operation.id], "marker is not the id of an entry")
    return page


SERVICE = Service(
    name="vpc",
    routes={"listVpcs": list_vpcs, "listSubnets": list_subnets, "listSecurityGroups": list_security_groups},
    malformed=malformed,
)
