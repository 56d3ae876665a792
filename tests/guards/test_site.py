"""The documentation as a site: it builds without a warning, its links lead somewhere, and nothing comes from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

pytestmark = pytest.mark.slow
BROKEN = {
    "[a page](nowhere.md)": "nowhere.md",
    "[a heading](#nowhere)": "#nowhere",
    "[a file](../deployments/nowhere.yaml)": "../deployments/nowhere.yaml",
    "[a heading elsewhere](../README.md#nowhere)": "README.md#nowhere",
}
"""What a page may say, and what is told of it."""


def build(place: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Not --quiet: that hides warnings from `strict` too.
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement, printed as a warning
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


class Looked(HTMLParser):
    """The links of a page, the ids in it, and what a browser would load for it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.ids |= {told[name] for name in ("id", "name") if name in told}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif "src" in told or tag == "link":
            self.loaded.append(told.get("src") or told.get("href", ""))


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Looked]:
    """Every page of the site, built anew."""
    place = tmp_path_factory.mktemp("site")
    done = build(root, place)
    assert done.returncode == 0, done.stdout + done.stderr
    return {page: Looked(page) for page in place.rglob("*.html")}


def dead(page: Path, target: str, site: dict[Path, Looked]) -> bool:
    name, _, anchor = target.partition("#")
    there = page if not name else Path(os.path.normpath(page.parent / unquote(name)))
    return not there.is_file() or bool(anchor and there in site and unquote(anchor) not in site[there].ids | {"__top"})


def test_every_link_of_the_site_leads_to_a_page_and_a_heading_that_are_there(site: dict[Path, Looked]) -> None:
    # The page for what is not found is shown at any address, and so has absolute links.
    pages = {page: looked for page, looked in site.items() if page.name != "404.html"}
    assert len(pages) > 60
    inside = [(page, link) for page, looked in pages.items() for link in looked.links if not re.match(r"[a-z]+:", link)]
    assert len(inside) > 1000
    assert [f"{page.name}: {link}" for page, link in inside if dead(page, link, site)] == []


def test_a_browser_loads_nothing_for_it_from_elsewhere(site: dict[Path, Looked]) -> None:
    outside = {one for looked in site.values() for one in looked.loaded if re.match(r"([a-z]+:)?//", one)}
    assert outside == set()


def test_every_page_of_the_docs_is_in_the_site(site: dict[Path, Looked], root: Path) -> None:
    pages = {page.relative_to(root / "docs").with_suffix(".html").as_posix() for page in (root / "docs").rglob("*.md")}
    (top,) = {page.parent for page in site if page.name == "404.html"}
    built = {page.relative_to(top).as_posix() for page in site}
    assert {name.replace("README.html", "index.html") for name in pages} - built == set()


@pytest.mark.parametrize(("text", "named"), BROKEN.items())
def test_a_link_that_leads_nowhere_ends_the_build(text: str, named: str, root: Path, tmp_path: Path) -> None:
    told = yaml.unsafe_load((root / "mkdocs.yml").read_text(encoding="utf-8"))
    for name in ("docs/site", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name == "docs/site":
            shutil.copytree(root / name, tmp_path / name)
        else:
            (tmp_path / name).write_text(f"# {name}\n", encoding="utf-8")
    told |= {"nav": [{"Home": "index.md"}], "theme": {"name": "mkdocs"}, "not_in_nav": "checkout/"}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(told))
    (tmp_path / "docs" / "index.md").write_text(f"# A page\n\n{text}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert named in done.stderr
