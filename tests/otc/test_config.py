"""clouds.yaml means here what it means to openstacksdk, and mistakes in it are named with file and line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from openstack.config import OpenStackConfig

from backup_to_image.errors import UsageError
from backup_to_image.otc import Credentials, read_clouds

AUTH = """
      auth_url: https://iam.eu-de.otc.t-systems.com:443/v3
      username: dr-robot
      password: "made-up"
      user_domain_name: OTC00000000001000000xxx
      project_name: eu-de_dr
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path: Path, name: str | None = None, *, region: str | None = None, **environ: str) -> tuple[Credentials, list[str]]:
    return read_clouds(name, environ={"HOME": str(tmp_path / "home"), **environ}, cwd=tmp_path, region=region)


def problems(tmp_path: Path, name: str | None = None, **more: Any) -> tuple[str, ...]:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, name, **more)
    return caught.value.problems


CASES: dict[str, tuple[str, str, dict[str, str], str | None]] = {
    "plain": (f"clouds:\n  otc:\n    auth:{AUTH}    region_name: eu-de\n", "", {}, None),
    "one cloud needs no name": (
        f"clouds:\n  only:\n    auth:{AUTH}    region_name: eu-de\n    interface: internal\n",
        "",
        {},
        None,
    ),
    "chosen by OS_CLOUD": (
        f"clouds:\n  a:\n    auth:{AUTH}    region_name: eu-de\n  b:\n    auth:{AUTH}    region_name: eu-nl\n",
        "",
        {"OS_CLOUD": "b"},
        None,
    ),
    "secure.yaml lies over it": (
        f"clouds:\n  otc:\n    auth:{AUTH}    region_name: eu-de\n",
        'clouds:\n  otc:\n    auth:\n      password: "another"\n      username: somebody\n',
        {},
        None,
    ),
    "profile otc": (
        "clouds:\n  otc:\n    profile: otc\n    auth: {username: u, password: p, user_domain_name: d, project_name: eu-de_x}\n",
        "",
        {},
        None,
    ),
    "profile otc, other region": (
        (
            "clouds:\n  otc:\n    profile: otc\n    region_name: eu-nl\n"
            "    auth: {username: u, password: p, user_domain_name: d, project_name: eu-nl}\n"
        ),
        "",
        {},
        None,
    ),
    "tenant names and one domain for both": (
        (
            "clouds:\n  otc:\n    region_name: eu-de\n"
            "    auth: {auth_url: https://iam.x/v3, username: u, password: p, domain_name: d, tenant_name: eu-de_t}\n"
        ),
        "",
        {},
        None,
    ),
    "ids": (
        (
            "clouds:\n  otc:\n    region_name: eu-de\n    auth: {auth_url: https://iam.x/v3, user_id: u1, password: p,"
            " user_domain_id: d1, project_id: a1b2c3d4e5f60718293a4b5c6d7e8f90}\n"
        ),
        "",
        {},
        None,
    ),
    "regions with values of their own": (
        (
            f"clouds:\n  otc:\n    auth:{AUTH}    regions:\n      - name: eu-de\n"
            "      - name: eu-nl\n        values: {auth: {project_name: eu-nl_dr, auth_url: https://iam.eu-nl.x/v3}}\n"
        ),
        "",
        {},
        "eu-nl",
    ),
    "the first of several regions": (f"clouds:\n  otc:\n    auth:{AUTH}    regions: [eu-nl, eu-de]\n", "", {}, None),
    "old name of interface": (
        f"clouds:\n  otc:\n    auth:{AUTH}    region_name: eu-de\n    endpoint_type: internal\n",
        "",
        {},
        None,
    ),
    "keys with hyphens": (
        (
            "clouds:\n  otc:\n    region_name: eu-de\n"
            "    auth: {auth_url: https://iam.x/v3, username: u, password: p, user-domain-name: d, project-name: eu-de_h}\n"
        ),
        "",
        {},
        None,
    ),
    "variables alone": (
        "",
        "",
        {
            "OS_AUTH_URL": "https://iam.eu-de.x/v3",
            "OS_USERNAME": "u",
            "OS_PASSWORD": "p",
            "OS_USER_DOMAIN_NAME": "d",
            "OS_TENANT_NAME": "eu-de_v",
            "OS_REGION_NAME": "eu-de",
            "OS_INTERFACE": "internal",
        },
        None,
    ),
    "variables go before a file without a chosen cloud": (
        f"clouds:\n  otc:\n    auth:{AUTH}    region_name: eu-de\n",
        "",
        {
            "OS_AUTH_URL": "https://iam.eu-nl.x/v3",
            "OS_USERNAME": "u",
            "OS_PASSWORD": "p",
            "OS_DOMAIN_NAME": "d",
            "OS_PROJECT_NAME": "eu-nl",
            "OS_REGION_NAME": "eu-nl",
        },
        None,
    ),
    "certificates": (f"clouds:\n  otc:\n    auth:{AUTH}    region_name: eu-de\n    cacert: CACERT\n", "", {}, None),
    "loopback without TLS checks": (
        (
            "clouds:\n  otc:\n    region_name: eu-de\n    verify: false\n"
            "    auth: {auth_url: https://127.0.0.1:8774/v3, username: u, password: p, domain_name: d, project_name: eu-de_e}\n"
        ),
        "",
        {},
        None,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_entry_means_what_it_means_to_openstacksdk(
    case: tuple[str, str, dict[str, str], str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds, secure, environ, region = case
    authority = write(tmp_path / "ca.pem", "made up")
    files = {"config_files": [str(tmp_path / "clouds.yaml")], "secure_files": [str(tmp_path / "secure.yaml")]}
    for name, text in (("clouds.yaml", clouds), ("secure.yaml", secure)):
        if text:
            write(tmp_path / name, text.replace("CACERT", str(authority)))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    theirs = OpenStackConfig(**files).get_one(**({"region_name": region} if region else {}))
    ours, warnings = read(tmp_path, region=region, **environ)
    said = theirs.config["auth"]
    assert ours.auth_url == said["auth_url"]
    assert ours.username == said.get("username")
    assert ours.user_id == said.get("user_id")
    assert ours.password is not None
    assert ours.password.get_secret_value() == said["password"]
    for field in ("user_domain_name", "user_domain_id", "project_name", "project_id"):
        assert getattr(ours, field) == said.get(field), field
    assert ours.region == theirs.region_name
    assert ours.interface == theirs.config.get("interface", "public")
    verify, _ = theirs.get_requests_verify_args()
    assert (ours.cacert or ours.verify) == verify
    assert warnings == []


def test_the_swiss_profile_gets_the_scheme_that_openstacksdk_forgets(tmp_path: Path) -> None:
    auth = "{username: u, password: p, user_domain_name: d, project_name: eu-ch2_x}"
    write(tmp_path / "clouds.yaml", f"clouds:\n  ch:\n    profile: otc-swiss\n    auth: {auth}\n")
    ours, _ = read(tmp_path)
    assert ours.auth_url == "https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3"
    assert ours.region == "eu-ch2"


@pytest.mark.parametrize(
    ("project", "region"), [("eu-nl_dr", "eu-nl"), ("eu-de", "eu-de"), ("shop", None), ("eu-ch2_x", "eu-ch2")]
)
def test_the_region_is_read_off_the_projects_name_where_nothing_else_tells(
    tmp_path: Path, project: str, region: str | None
) -> None:
    write(tmp_path / "clouds.yaml", f"clouds:\n  otc:\n    auth:{AUTH.replace('eu-de_dr', project)}")
    ours, _ = read(tmp_path)
    assert ours.region == region


def test_each_mistake_is_named_with_its_line_and_all_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "clouds.yaml",
        """clouds:
  otc:
    auth:
      auth_url: http://iam.eu-de.otc.t-systems.com/v3
      username: dr-robot
      password: 0123
      user_domain_name: OTC1
    verify: perhaps
    auth_type: agency
    cacert: /nowhere/ca.pem
    profile: other
    signature: both
""",
    )
    found = problems(tmp_path)
    joined = "\n".join(found)
    for line, field in [
        (4, "auth.auth_url"),
        (6, "auth.password"),
        (8, "verify"),
        (9, "auth_type"),
        (10, "cacert"),
        (11, "profile"),
    ]:
        assert f"{path}:{line}: clouds.otc.{field}: " in joined, field
    assert "project_name" in joined
    assert "agency" in joined
    assert "signature" in joined
    assert len(found) == 9  # the eight above, and the password that is missing since a number is none


def test_a_mistake_in_secure_yaml_is_named_there(tmp_path: Path) -> None:
    write(tmp_path / "clouds.yaml", f"clouds:\n  otc:\n    auth:{AUTH}")
    path = write(tmp_path / "secure.yaml", 'clouds:\n  otc:\n    auth:\n      password: "********"\n')
    (found,) = problems(tmp_path)
    assert found.startswith(f"{path}:4: clouds.otc.auth.password: it is all asterisks")


def test_what_is_not_read_is_named_in_a_warning(tmp_path: Path) -> None:
    path = write(
        tmp_path / "clouds.yaml",
        f"clouds:\n  otc:\n    auth:{AUTH}      ak: A\n    image_format: raw\n    ak: A\n    sk: S\n",
    )
    ours, warnings = read(tmp_path)
    assert warnings == [
        f"{path}:10: clouds.otc.image_format: is not read",
        f"{path}:9: clouds.otc.auth.ak: is not read; it belongs beside auth",
        f"{path}:11: clouds.otc.ak: is not used, since a password or a token is given too",
    ]
    assert not ours.signs


def test_a_key_pair_alone_signs(tmp_path: Path) -> None:
    auth = "{auth_url: https://iam.eu-de.x/v3, project_name: eu-de_dr}"
    write(tmp_path / "clouds.yaml", f"clouds:\n  otc:\n    auth: {auth}\n    ak: AKX\n    sk: made-up\n    signature: scoped\n")
    ours, _ = read(tmp_path)
    assert (ours.signs, ours.access_key, ours.signature) == (True, "AKX", "scoped")
    write(tmp_path / "clouds.yaml", f"clouds:\n  otc:\n    auth: {auth}\n    ak: AKX\n")
    assert any("sk: is missing" in problem for problem in problems(tmp_path))


def test_endpoints_may_be_set_by_hand(tmp_path: Path) -> None:
    more = "    image_endpoint_override: https://ims.x/v2\n    compute_endpoint_override: http://ecs.x\n"
    write(tmp_path / "clouds.yaml", f"clouds:\n  otc:\n    auth:{AUTH}{more}")
    assert any("ecs" in problem and "https" in problem for problem in problems(tmp_path))
    write(tmp_path / "clouds.yaml", f"clouds:\n  otc:\n    auth:{AUTH}{more.replace('http://ecs', 'https://ecs')}")
    assert read(tmp_path)[0].endpoint_overrides == {"ims": "https://ims.x/v2", "ecs": "https://ecs.x"}


def test_no_file_says_where_it_looked(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "otc")
    assert str(tmp_path / "clouds.yaml") in found
    assert str(tmp_path / "home" / ".config" / "openstack" / "clouds.yaml") in found
    assert "/etc/openstack/clouds.yaml" in found


def test_an_unknown_cloud_says_which_there_are(tmp_path: Path) -> None:
    write(tmp_path / "clouds.yaml", f"clouds:\n  a:\n    auth:{AUTH}  b:\n    auth:{AUTH}")
    (found,) = problems(tmp_path, "c")
    assert "'c'" in found
    assert "a, b" in found
    (found,) = problems(tmp_path)
    assert "which cloud?" in found


def test_a_region_that_the_entry_does_not_know_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "clouds.yaml", f"clouds:\n  otc:\n    auth:{AUTH}    regions: [eu-de, eu-nl]\n")
    (found,) = problems(tmp_path, region="eu-xx")
    assert "eu-de, eu-nl" in found


def test_a_file_named_by_a_variable_must_be_there(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, OS_CLIENT_CONFIG_FILE=str(tmp_path / "gone.yaml"))
    assert "OS_CLIENT_CONFIG_FILE" in found
    write(tmp_path / "elsewhere.yaml", f"clouds:\n  otc:\n    auth:{AUTH}")
    write(tmp_path / "clouds.yaml", "clouds:\n  other: {}\n")
    ours, _ = read(tmp_path, OS_CLIENT_CONFIG_FILE="elsewhere.yaml")
    assert ours.project_name == "eu-de_dr"


@pytest.mark.parametrize("where", ["clouds.yml", "home/.config/openstack/clouds.yaml", "xdg/openstack/clouds.yaml"])
def test_the_file_is_found_where_openstack_keeps_it(tmp_path: Path, where: str) -> None:
    write(tmp_path / where, f"clouds:\n  otc:\n    auth:{AUTH}")
    ours, _ = read(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    assert ours.username == "dr-robot"


def test_variables_name_what_is_missing(tmp_path: Path) -> None:
    found = problems(tmp_path, OS_USERNAME="u", OS_AUTH_URL="https://iam.x/v3")
    assert {problem.partition(":")[0] for problem in found} == {"OS_PASSWORD", "OS_USER_DOMAIN_NAME", "OS_PROJECT_NAME"}


def test_variables_may_hold_a_key_pair(tmp_path: Path) -> None:
    ours, _ = read(
        tmp_path,
        OS_ACCESS_KEY="AKX",
        OS_SECRET_KEY="made-up",
        OS_AUTH_URL="https://iam.x/v3",
        OS_PROJECT_NAME="eu-de_x",
        OS_REGION="eu-de",
    )
    assert ours.signs
    assert ours.region == "eu-de"


def test_secrets_never_show_themselves(tmp_path: Path) -> None:
    write(
        tmp_path / "clouds.yaml",
        f"clouds:\n  otc:\n    auth:{AUTH.replace('made-up', 'hush-hush')}    ak: A\n    sk: hush-hush\n",
    )
    ours, warnings = read(tmp_path)
    assert "hush-hush" not in repr(ours) + str(ours) + ours.model_dump_json() + str(warnings)


@pytest.mark.parametrize("content", ["", "[]", "clouds: []", "clouds:\n  otc: 7\n", "clouds: {otc: {auth: [1]}}", ":\n:"])
def test_a_file_of_another_form_is_refused_with_its_place(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "clouds.yaml", content)
    assert any(str(path) in problem for problem in problems(tmp_path))


def test_what_the_tests_write_is_yaml() -> None:
    assert all(yaml.safe_load(clouds) or not clouds for clouds, _, _, _ in CASES.values())


def test_importing_the_client_loads_neither_yaml_nor_prefect() -> None:
    names = ("yaml", "prefect", "platformdirs", "starlette")  # rich comes with httpx, which has a command of its own
    code = f"import sys, backup_to_image.otc; print([name for name in {names} if name in sys.modules])"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert asked.stdout.strip() == "[]"
