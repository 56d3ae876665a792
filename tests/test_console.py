"""Links into the cloud's console lead where the console shows a thing, and are nothing but links."""

import doctest
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_to_image import console as module
from backup_to_image.console import Console, Kind
from backup_to_image.errors import UsageError
from backup_to_image.settings import Settings
from backup_to_image.yamlfile import load_file
from tests.support.pages import NASTY

HERE = Console("https://console.example.com", "eu-de")
KINDS: tuple[Kind, ...] = ("backup", "image", "server", "vault")


def test_the_examples_of_its_documentation_hold() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_says_the_region_and_the_id_is_to_be_seen(kind: Kind) -> None:
    link = HERE.link(kind, "57bbc0a7", "shop-web-01")
    assert link.startswith("[shop-web-01](https://console.example.com/")
    assert "?region=eu-de#" in link
    assert "`57bbc0a7`" in link
    assert HERE.link(kind, "57bbc0a7").startswith(f"[{kind}](")


def test_a_server_is_shown_itself_and_what_has_no_address_of_its_own_by_its_list() -> None:
    assert HERE.page("server", "57bbc0a7") != HERE.page("server", "0a7c57bb")
    assert HERE.page("image", "57bbc0a7") == HERE.page("image", "0a7c57bb")


@pytest.mark.parametrize("console", [Console(), Console("https://console.example.com"), Console(None, "eu-de")])
def test_without_an_address_or_a_region_there_are_no_links(console: Console) -> None:
    assert [console.page(kind, "57bbc0a7") for kind in KINDS] == [None] * 4
    assert console.link("image", "57bbc0a7", "shop-web-01") == "shop-web-01 `57bbc0a7`"
    assert console.lists == ""


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_never_more_than_a_name(name: str) -> None:
    for link in (HERE.link("server", "57bbc0a7", name), Console().link("server", "57bbc0a7", name)):
        assert "|" not in link
        assert not re.search(r"(?<!\\)[<>`]", link.removesuffix("`57bbc0a7`"))
    assert len(re.findall(r"(?<!\\)\]\(", HERE.link("server", "57bbc0a7", name))) == 1


@given(st.text(max_size=40))
def test_an_id_stays_inside_its_link(ident: str) -> None:
    page = HERE.page("server", ident)
    assert page
    assert re.fullmatch(r"https://console\.example\.com/ecm/\?region=eu-de#/ecs/manager/ecsDetail\?instanceId=[\w.~%-]*", page)


def test_the_address_is_a_setting_and_null_switches_links_off(tmp_path: Path) -> None:
    file = tmp_path / "b2i.yaml"
    assert Settings().console == "https://console.otc.t-systems.com"
    file.write_text("console: null\n")
    assert load_file(file, Settings, "settings file").console is None
    for wrong in ("http://console.example.com", "console.example.com", "https://user:secret@console.example.com", "https://a b"):
        file.write_text(f"console: '{wrong}'\n")
        with pytest.raises(UsageError, match="must be https://HOST, or null"):
            load_file(file, Settings, "settings file")
