"""Log-in, tokens, signatures, catalog: BEHAVIOUR.md section 1."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backup_to_image.emulator import signing

from .conftest import Client, Region

VECTORS = json.loads((Path(__file__).parents[1] / "contract" / "signing-vectors.json").read_text())


async def test_a_token_is_scoped_to_the_project_and_lives_for_a_day(region: Region) -> None:
    account = region.account
    answer = await region.token(
        account["user"], account["password"], account["domain_name"], {"project": {"name": account["project_name"]}}
    )
    token = answer.json()["token"]
    assert answer.status_code == 201
    assert token["project"]["id"] == account["project_id"]
    lived = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["issued_at"])
    assert lived.total_seconds() == 24 * 3600


async def test_a_second_token_does_not_end_the_first(region: Region, shop: Client) -> None:
    await region.login()
    assert (await shop.get("cbr/v3/{p}/vaults")).status_code == 200


async def test_the_catalog_names_each_service_as_clients_look_for_it(shop: Client) -> None:
    catalog = {entry["name"]: entry for entry in (await shop.get("iam/v3/auth/catalog")).json()["catalog"]}
    urls = {name: entry["endpoints"][0]["url"] for name, entry in catalog.items()}
    assert urls["glance"] == shop.endpoints["ims"]
    assert urls["cbr"] == f"{shop.endpoints['cbr']}/v3/{shop.project}"
    assert urls["nova"] == f"{shop.endpoints['ecs']}/v2.1/{shop.project}"
    assert urls["vpc"] == f"{shop.endpoints['vpc']}/v1/{shop.project}"
    assert catalog["glance"]["type"] == "image"
    assert catalog["keystone"]["endpoints"][0]["region"] == "*"


async def test_nocatalog_leaves_the_catalog_out(region: Region) -> None:
    account = region.account
    identity = {
        "methods": ["password"],
        "password": {
            "user": {"name": account["user"], "password": account["password"], "domain": {"name": account["domain_name"]}}
        },
    }
    body = {"auth": {"identity": identity, "scope": {"domain": {"name": account["domain_name"]}}}}
    answer = await region.http.post(f"{account['auth_url']}/auth/tokens?nocatalog=true", json=body)
    assert "catalog" not in answer.json()["token"]
    assert answer.json()["token"]["domain"]["name"] == account["domain_name"]


async def test_an_account_scoped_token_opens_no_project_service(region: Region) -> None:
    account = region.account
    answer = await region.token(
        account["user"], account["password"], account["domain_name"], {"domain": {"name": account["domain_name"]}}
    )
    client = Client(region.http, region.endpoints, account["project_id"], {"X-Auth-Token": answer.headers["X-Subject-Token"]})
    assert (await client.get("ims/v2/cloudimages")).json()["error"]["code"] == "IMG.0030"


async def test_a_wrong_password_is_a_401_and_five_lock_the_user_for_a_quarter_of_an_hour(region: Region) -> None:
    account = region.account
    scope = {"project": {"id": account["project_id"]}}
    for _ in range(5):
        answer = await region.token(account["user"], "wrong-password", account["domain_name"], scope)
        assert answer.status_code == 401
        assert answer.json()["error"]["title"] == "Unauthorized"
    locked = await region.token(account["user"], account["password"], account["domain_name"], scope)
    assert (locked.status_code, locked.json()["error_code"]) == (401, "IAM.0061")
    region.clock.advance(16 * 60)
    assert (await region.token(account["user"], account["password"], account["domain_name"], scope)).status_code == 201


async def test_a_project_of_another_account_is_no_scope(region: Region) -> None:
    account = region.account
    answer = await region.token(
        account["user"], account["password"], account["domain_name"], {"project": {"id": account["recipient"]["project_id"]}}
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("where", "status", "code"),
    [
        ("iam/v3/auth/projects", 401, "IAM.0066"),
        ("ims/v2/cloudimages", 400, "IMG.0087"),
        ("cbr/v3/{p}/backups", 500, "BackupService.9998"),
        ("ecs/v1/{p}/cloudservers/detail", 401, "Common.0013"),
        ("vpc/v1/{p}/vpcs", 401, "VPC.0008"),
        ("evs/v2/{p}/cloudvolumes/detail", 400, "EVS.0002"),
        ("eip/v1/{p}/publicips", 401, "VPC.0008"),
    ],
)
async def test_each_service_turns_an_expired_token_away_in_its_own_words(
    region: Region, shop: Client, where: str, status: int, code: str
) -> None:
    region.clock.advance(24 * 3600 + 1)
    answer = await shop.get(where)
    assert (answer.status_code, _code(answer.json())) == (status, code)


async def test_with_the_switch_a_gateway_turns_it_away_first(region: Region, shop: Client) -> None:
    region.emulator.switches["bad_token"] = "gateway"
    region.clock.advance(24 * 3600 + 1)
    answer = await shop.get("cbr/v3/{p}/backups")
    assert (answer.status_code, _code(answer.json())) == (401, "APIGW.0301")


@pytest.mark.parametrize(
    ("where", "status", "code"),
    [
        ("ims/v1/{other}/jobs/00000000000000000000000000000000", 400, "IMG.0030"),
        ("cbr/v3/{other}/backups", 500, "BackupService.9998"),
        ("ecs/v1/{other}/cloudservers/detail", 400, "Ecs.0023"),
        ("vpc/v1/{other}/vpcs", 400, "VPC.0007"),
        ("evs/v2/{other}/cloudvolumes/detail", 400, "EVS.0001"),
    ],
)
async def test_a_foreign_project_in_the_url_is_refused(region: Region, shop: Client, where: str, status: int, code: str) -> None:
    answer = await shop.get(where.replace("{other}", region.account["recipient"]["project_id"]))
    assert (answer.status_code, _code(answer.json())) == (status, code)


async def test_a_token_can_be_checked(region: Region, shop: Client) -> None:
    token = shop.headers["X-Auth-Token"]
    assert (await shop.ask("HEAD", "iam/v3/auth/tokens", headers={"X-Subject-Token": token})).status_code == 200
    assert (await shop.ask("HEAD", "iam/v3/auth/tokens", headers={"X-Subject-Token": "gone"})).status_code == 404
    assert (await shop.ask("HEAD", "iam/v3/auth/tokens")).status_code == 400


async def test_projects_are_found_by_name_and_those_of_others_are_forbidden(region: Region, shop: Client) -> None:
    mine = (await shop.get("iam/v3/auth/projects")).json()["projects"]
    assert {project["name"] for project in mine} == {"eu-de_shop", "eu-de_dr"}
    found = (await shop.get("iam/v3/projects", name="eu-de_dr")).json()["projects"]
    assert [project["id"] for project in found] == [region.account["second_project"]]
    assert (await shop.get("iam/v3/projects", domain_id="f" * 32)).status_code == 403
    assert (await shop.get("iam/v3/projects", page=1)).status_code == 400
    assert len((await shop.get("iam/v3/projects", page=2, per_page=1)).json()["projects"]) == 1


async def test_a_reader_may_look_and_not_touch(region: Region) -> None:
    reader = await region.login(user="shop-auditor", password="Only-Reads-2026")
    assert (await reader.get("cbr/v3/{p}/backups")).status_code == 200
    answer = await reader.create_image(region.account["backups"]["available"][0])
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "IMG.0026")


def _code(body: dict[str, Any]) -> str:
    return body.get("error_code") or body.get("code") or body["error"]["code"]


# -- AK/SK ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: f"{vector['flavor']}-{vector['method']}")
def test_signatures_come_out_as_the_worked_vectors_say(vector: dict[str, Any]) -> None:
    signed = signing.parse(vector["authorization"])
    assert signed is not None
    headers = {name.lower(): value for name, value in vector["headers"].items()}
    query = "&".join(f"{name}={value}" for name, value in vector["query"])
    body = (vector.get("body") or "").encode()
    declared = headers.get("x-sdk-content-sha256")
    canonicals = [
        signing.canonical_request(vector["method"], vector["path"], query, headers, signed.headers, payload)
        for payload in signing.payload_hashes(vector["method"], query, body, declared)
    ]
    assert vector["canonical_request"] in canonicals
    made = [
        signing.expected_signature(VECTORS["secret_key"], signed.scope, headers["x-sdk-date"], canonical)
        for canonical in canonicals
    ]
    assert vector["signature"] in made


class _Signer:
    """Signs requests as the two families of clients do; its canonical form is the emulator's, proven by the vectors above."""

    def __init__(self, region: Region, *, scoped: bool, late_project: bool = False, unsigned_payload: bool = False) -> None:
        self.region, self.scoped, self.late_project, self.unsigned_payload = region, scoped, late_project, unsigned_payload
        self.ak, self.sk, self.project = region.account["ak"], region.account["sk"], region.account["project_id"]

    async def ask(self, method: str, where: str, query: str = "", body: bytes = b"", *, shift: float = 0) -> Any:
        service, _, path = where.partition("/")
        path = "/" + path.replace("{p}", self.project)
        origin = self.region.endpoints[service]
        when = datetime.fromtimestamp(self.region.clock.now().timestamp() + shift, UTC)
        headers = {"host": origin.removeprefix("http://"), "x-sdk-date": when.strftime("%Y%m%dT%H%M%SZ")}
        if not self.late_project:
            headers["x-project-id"] = self.project
        if body:
            headers["content-type"] = "application/json"
        if self.unsigned_payload:
            headers["x-sdk-content-sha256"] = "UNSIGNED-PAYLOAD"
        names = tuple(sorted(headers))
        payload = signing.payload_hashes("GET", "", body, headers.get("x-sdk-content-sha256"))[0]
        scope = f"{headers['x-sdk-date'][:8]}///sdk_request" if self.scoped else ""
        canonical = signing.canonical_request(method, path, query, headers, names, payload)
        signature = signing.expected_signature(self.sk, scope, headers["x-sdk-date"], canonical)
        claim = f"Credential={self.ak}/{scope}" if self.scoped else f"Access={self.ak}"
        headers["authorization"] = f"{signing.ALGORITHM} {claim}, SignedHeaders={';'.join(names)}, Signature={signature}"
        headers["x-project-id"] = self.project
        return await self.region.http.request(
            method, f"{origin}{path}{'?' + query if query else ''}", headers=headers, content=body
        )


@pytest.mark.parametrize("scoped", [False, True], ids=["plain", "scoped"])
@pytest.mark.parametrize("late_project", [False, True], ids=["project signed", "project added later"])
async def test_both_forms_of_signature_are_let_in(region: Region, scoped: bool, late_project: bool) -> None:
    signer = _Signer(region, scoped=scoped, late_project=late_project)
    assert (await signer.ask("GET", "cbr/v3/{p}/backups", "limit=1&status=available&status=error")).status_code == 200
    body = json.dumps({"action": "count", "tags": []}).encode()
    assert (await signer.ask("POST", "ims/v2/{p}/images/resource_instances/action", body=body)).status_code == 200


async def test_an_unsigned_payload_is_let_in(region: Region) -> None:
    signer = _Signer(region, scoped=False, unsigned_payload=True)
    body = json.dumps({"action": "count", "tags": []}).encode()
    assert (await signer.ask("POST", "ims/v2/{p}/images/resource_instances/action", body=body)).status_code == 200


async def test_a_signature_with_the_wrong_secret_or_a_wrong_clock_is_turned_away(region: Region) -> None:
    signer = _Signer(region, scoped=False)
    assert (await signer.ask("GET", "cbr/v3/{p}/backups", shift=14 * 60)).status_code == 200
    assert (await signer.ask("GET", "cbr/v3/{p}/backups", shift=16 * 60)).status_code == 500
    signer.sk = "wrong"
    assert (await signer.ask("GET", "ims/v2/cloudimages")).json()["error"]["code"] == "IMG.0087"


async def test_a_signed_request_for_a_project_of_others_is_refused(region: Region) -> None:
    signer = _Signer(region, scoped=False)
    signer.project = region.account["recipient"]["project_id"]
    assert (await signer.ask("GET", "ims/v2/cloudimages")).json()["error"]["code"] == "IMG.0030"


# -- the door ---------------------------------------------------------------------------------------------------------


async def test_a_path_of_another_service_is_not_served_on_this_port(shop: Client) -> None:
    assert (await shop.get("iam/v3/{p}/backups")).status_code == 404
    assert (await shop.get("cbr/v2/cloudimages")).status_code == 404
    assert (await shop.ask("PUT", "ims/v2/cloudimages")).status_code == 405


async def test_trailing_slashes_and_foreign_headers_are_tolerated(shop: Client) -> None:
    answer = await shop.ask(
        "GET",
        "ims/v2/images/",
        headers={"Content-Type": "application/json", "OpenStack-API-Version": "image 2.5", "User-Agent": "x"},
    )
    assert answer.status_code == 200


async def test_elastic_ips_are_served_by_the_vpc_endpoint_too(shop: Client) -> None:
    assert (await shop.get("vpc/v1/{p}/publicips")).status_code == (await shop.get("eip/v1/{p}/publicips")).status_code == 200


@pytest.mark.parametrize(("where", "key"), [("iam/v3", "version"), ("ims/", "versions"), ("ims/v2", "versions")])
async def test_version_documents_stand_where_openstack_clients_look(region: Region, where: str, key: str) -> None:
    service, _, path = where.partition("/")
    answer = await region.http.get(f"{region.endpoints[service]}/{path}")
    assert key in answer.json()


@pytest.mark.parametrize(
    ("method", "where", "given", "code"),
    [
        ("GET", "cbr/v3/{p}/backups?colour=red", {}, "BackupService.9900"),
        ("GET", "cbr/v3/{p}/backups?limit=1001", {}, "BackupService.9900"),
        ("GET", "cbr/v3/{p}/backups/no-uuid", {}, "BackupService.9900"),
        ("GET", "ims/v2/cloudimages?limit=many", {}, "IMG.0001"),
        ("GET", "ims/v2/cloudimages?created_at=lt:yesterday", {}, "IMG.0001"),
        ("GET", "ims/v2/images/no-uuid", {}, "IMG.0027"),
        ("GET", "ims/v1/{p}/jobs/no-job", {}, "IMG.0023"),
        ("POST", "ims/v1/cloudimages/members", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, "IMG.0001"),
        ("POST", "ims/v1/cloudimages/members", {"content": b"{", "headers": {"Content-Type": "application/json"}}, "IMG.0001"),
        ("POST", "ims/v1/cloudimages/members", {"json": {"images": [], "projects": []}}, "IMG.0001"),
        ("POST", "ims/v1/cloudimages/members", {}, "IMG.0007"),
        ("POST", "cbr/v3/{p}/checkpoints", {"json": {"checkpoint": {"vault_id": "x"}}}, "BackupService.9900"),
        ("POST", "cbr/v3/{p}/checkpoints", {"json": {"checkpoint": {"colour": "red"}}}, "BackupService.9900"),
    ],
)
async def test_what_the_contract_does_not_know_is_refused_in_the_services_own_words(
    shop: Client, method: str, where: str, given: dict[str, Any], code: str
) -> None:
    answer = await shop.ask(method, where, **given)
    assert (answer.status_code, _code(answer.json())) in {(400, code), (404, code)}


async def test_the_journal_remembers_requests_and_no_secret(region: Region, shop: Client) -> None:
    await shop.get("cbr/v3/{p}/vaults", limit=3)
    entry = region.emulator.requests[-1]
    assert (entry["service"], entry["operationId"], entry["status"], entry["project"]) == ("cbr", "listVaults", 200, shop.project)
    assert entry["code"] is None
    refused = await shop.ask("POST", "ims/v1/cloudimages/members", json={"images": [], "projects": []})
    assert region.emulator.requests[-1]["code"] == _code(refused.json()) == "IMG.0001"
    listed = (
        await region.http.get(f"{region.endpoints['iam']}/_emulator/requests", params={"since": entry["number"] - 1})
    ).json()["requests"]
    assert [one["operationId"] for one in listed][:1] == ["listVaults"]
    text = json.dumps(list(region.emulator.requests))
    assert shop.headers["X-Auth-Token"] not in text
    assert region.account["password"] not in text
