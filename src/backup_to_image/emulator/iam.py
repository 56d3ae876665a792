"""Identity: tokens, projects, catalog (BEHAVIOUR.md 1)."""

from __future__ import annotations

import hmac
from datetime import timedelta

from .auth import fingerprint, issue_token
from .cloud import Cloud
from .routing import Operation
from .services import Service
from .store import moment
from .wire import Answer, Call, Doc, Problem, Refusal

__all__ = ["SERVICE"]

# A user is locked after so many wrong passwords in a row, for so long.
_WRONG_PASSWORDS = 5
_LOCK = timedelta(minutes=15)

# The catalog (BEHAVIOUR.md 1.2): name, type, service whose port it is, what follows the origin, whether it belongs to a region.
_CATALOG = (
    ("glance", "image", "ims", "", True),
    ("cbr", "cbr", "cbr", "/v3/{project}", True),
    ("ecs", "ecs", "ecs", "/v1/{project}", True),
    ("nova", "compute", "ecs", "/v2.1/{project}", True),
    ("evs", "evs", "evs", "/v2/{project}", True),
    ("cinderv2", "volumev2", "evs", "/v2/{project}", True),
    ("cinderv3", "volumev3", "evs", "/v2/{project}", True),
    ("vpc", "vpc", "vpc", "/v1/{project}", True),
    ("keystone", "identity", "iam", "/v3", False),
)


def malformed(operation: Operation, problem: Problem) -> Refusal:
    """IAM's words for a request that does not fit the contract."""
    del operation
    if problem.where == "header":
        return Refusal(400, "IAM.0011", problem.message)
    return Refusal(400, "400", problem.message)


def create_token(cloud: Cloud, call: Call) -> Answer:
    """createToken: a token for a password, scoped to a project or an account."""
    asked: Doc = call.body["auth"]
    user = _log_in(cloud, asked["identity"]["password"]["user"])
    project, domain = _scope(cloud, user, asked["scope"])
    token, kept = issue_token(cloud, user, project=project, domain=domain)
    body = _describe(cloud, user, kept, project, domain)
    if not call.query.get("nocatalog"):
        body["catalog"] = _catalog(cloud, call.origin, kept)
    return Answer(201, {"token": body}, {"X-Subject-Token": token})


def check_token(cloud: Cloud, call: Call) -> Answer:
    """checkToken: 200 for a token that is good, 404 for any other."""
    kept = cloud.get("token", fingerprint(call.headers["x-subject-token"]))
    if kept is None or moment(kept["expires_at"]) <= cloud.now():
        raise Refusal(404, "404", "could not find token")
    return Answer(200)


def list_auth_projects(cloud: Cloud, call: Call) -> Answer:
    """listAuthProjects: the projects that the caller may use."""
    return _projects(cloud, call, _own_projects(cloud, call))


def list_projects(cloud: Cloud, call: Call) -> Answer:
    """listProjects: the caller's projects that fit; those of another account are forbidden."""
    assert call.caller is not None  # noqa: S101 - secured by the contract
    wanted = call.query
    if wanted.get("domain_id") not in {None, call.caller.domain_id}:
        raise Refusal(403, "403", "not authorized")
    if ("page" in wanted) != ("per_page" in wanted):
        raise Refusal(400, "400", "page and per_page go together")
    found = [
        project
        for project in _own_projects(cloud, call)
        if wanted.get("name") in {None, project["name"]}
        and wanted.get("parent_id") in {None, project["domain_id"]}
        and wanted.get("enabled") in {None, True}
        and not wanted.get("is_domain")
    ]
    if "page" in wanted:
        start = (wanted["page"] - 1) * wanted["per_page"]
        found = found[start : start + wanted["per_page"]]
    return _projects(cloud, call, found)


def get_catalog(cloud: Cloud, call: Call) -> Answer:
    """getCatalog: the catalog of the caller's token."""
    caller = call.caller
    kept = cloud.get("token", caller.token_id) if caller is not None and caller.token_id else None
    if kept is None:
        kept = {"project_id": caller.project_id if caller else None}
    return Answer(
        200,
        {"catalog": _catalog(cloud, call.origin, kept), "links": {"self": f"{call.origin}:{cloud.port('iam')}/v3/auth/catalog"}},
    )


def _log_in(cloud: Cloud, given: Doc) -> Doc:
    user = _find_user(cloud, given)
    now = cloud.now()
    if user is not None and user.get("locked_until") and moment(user["locked_until"]) > now:
        raise Refusal(401, "IAM.0061", "the user is locked; try again later")
    if user is None or not hmac.compare_digest(user["password"].encode(), given["password"].encode()):
        if user is not None:
            user["wrong_passwords"] = user.get("wrong_passwords", 0) + 1
            if user["wrong_passwords"] >= _WRONG_PASSWORDS:
                user["wrong_passwords"] = 0
                user["locked_until"] = cloud.stamp(now + _LOCK)
            cloud.save("user", user)
        raise Refusal(401, "401", "wrong user name or password")
    if user.get("wrong_passwords") or user.get("locked_until"):
        user["wrong_passwords"], user["locked_until"] = 0, None
        cloud.save("user", user)
    return user


def _find_user(cloud: Cloud, given: Doc) -> Doc | None:
    if "id" in given:
        return cloud.get("user", given["id"])
    domain = _find_domain(cloud, given.get("domain", {}))
    if domain is None:
        return None
    return next(cloud.walk("user", name=given.get("name"), domain_id=domain["id"]), None)


def _find_domain(cloud: Cloud, given: Doc) -> Doc | None:
    if "id" in given:
        return cloud.get("domain", given["id"])
    return next(cloud.walk("domain", name=given.get("name")), None)


def _scope(cloud: Cloud, user: Doc, asked: Doc) -> tuple[Doc | None, Doc | None]:
    """Project and account of the token; with both given the project wins (BEHAVIOUR.md 1.1)."""
    if "project" in asked:
        wanted: Doc = asked["project"]
        for identity in user["projects"]:
            project = cloud.get("project", identity)
            if project is not None and (
                identity == wanted.get("id") or ("id" not in wanted and project["name"] == wanted.get("name"))
            ):
                return project, None
        raise Refusal(401, "401", "no such project, or not yours")
    if "domain" in asked:
        domain = _find_domain(cloud, asked["domain"])
        if domain is None or domain["id"] != user["domain_id"]:
            raise Refusal(401, "401", "no such account, or not yours")
        return None, domain
    return None, None


def _describe(cloud: Cloud, user: Doc, kept: Doc, project: Doc | None, domain: Doc | None) -> Doc:
    home = cloud.get("domain", user["domain_id"]) or {}
    account = {"id": home.get("id"), "name": home.get("name")}
    body: Doc = {
        "methods": ["password"],
        "issued_at": kept["created_at"],
        "expires_at": kept["expires_at"],
        "user": {"id": user["id"], "name": user["name"], "password_expires_at": "", "domain": account},
        "roles": [{"id": str(position), "name": role} for position, role in enumerate(user["roles"])],
    }
    if project is not None:
        body["project"] = {"id": project["id"], "name": project["name"], "domain": account}
    elif domain is not None:
        body["domain"] = account
    return body


def _catalog(cloud: Cloud, origin: str, kept: Doc) -> list[Doc]:
    """What the token can reach: everything in its project, or IAM alone."""
    project = cloud.get("project", kept["project_id"]) if kept.get("project_id") else None
    entries: list[Doc] = []
    for name, kind, service, suffix, regional in _CATALOG:
        if regional and project is None:
            continue
        region = project["region"] if regional and project else "*"
        endpoint = {
            "id": f"{name}-public",
            "interface": "public",
            "region": region,
            "region_id": region,
            "url": f"{origin}:{cloud.port(service)}{suffix.format(project=kept['project_id'])}",
        }
        entries.append({"id": name, "name": name, "type": kind, "endpoints": [endpoint]})
    return entries


def _own_projects(cloud: Cloud, call: Call) -> list[Doc]:
    assert call.caller is not None  # noqa: S101 - secured by the contract
    found = (cloud.get("project", identity) for identity in call.caller.user["projects"])
    return [project for project in found if project is not None]


def _projects(cloud: Cloud, call: Call, found: list[Doc]) -> Answer:
    origin = f"{call.origin}:{cloud.port('iam')}"
    body = [
        {
            "id": project["id"],
            "name": project["name"],
            "domain_id": project["domain_id"],
            "parent_id": project["domain_id"],
            "enabled": True,
            "is_domain": False,
            "description": project.get("description", ""),
            "links": {"self": f"{origin}/v3/projects/{project['id']}"},
        }
        for project in found
    ]
    return Answer(200, {"projects": body, "links": {"self": origin + call.operation.path, "previous": None, "next": None}})


def _version(cloud: Cloud, origin: str) -> Doc:
    return {
        "id": "v3.6",
        "status": "stable",
        "updated": "2016-04-04T00:00:00Z",
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
        "links": [{"rel": "self", "href": f"{origin}:{cloud.port('iam')}/v3/"}],
    }


SERVICE = Service(
    name="iam",
    routes={
        "createToken": create_token,
        "checkToken": check_token,
        "listAuthProjects": list_auth_projects,
        "listProjects": list_projects,
        "getCatalog": get_catalog,
    },
    malformed=malformed,
    discovery={
        "/": lambda cloud, origin: {"versions": {"values": [_version(cloud, origin)]}},
        "/v3": lambda cloud, origin: {"version": _version(cloud, origin)},
    },
)
