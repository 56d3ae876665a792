"""b2i.yaml: found where people expect it, wrong only in words, and the only list of recipients."""

from datetime import timedelta
from pathlib import Path

import pytest

from backup_to_image.errors import UsageError
from backup_to_image.model.shared_place import SharedPlace
from backup_to_image.settings import Settings, read_settings

PROJECT = "0123456789abcdef0123456789abcdef"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_file_that_is_named_wins_over_the_variable_the_folder_and_the_home(tmp_path: Path) -> None:
    named = write(tmp_path / "named.yaml", "journal: named")
    said = write(tmp_path / "said.yaml", "journal: said")
    here = write(tmp_path / "work" / "b2i.yaml", "journal: here").parent
    home = write(tmp_path / "config" / "b2i" / "b2i.yaml", "journal: home").parents[1]
    environ = {"B2I_CONFIG": str(said), "XDG_CONFIG_HOME": str(home)}
    assert read_settings(str(named), environ=environ, cwd=here).journal == "named"
    assert read_settings(environ=environ, cwd=here).journal == "said"
    del environ["B2I_CONFIG"]
    assert read_settings(environ=environ, cwd=here).journal == "here"
    assert read_settings(environ=environ, cwd=tmp_path).journal == "home"
    assert read_settings(environ={"XDG_CONFIG_HOME": str(tmp_path / "none")}, cwd=tmp_path).file is None


def test_without_a_file_nothing_is_shared_and_the_documented_patience_holds(tmp_path: Path) -> None:
    found = read_settings(environ={"XDG_CONFIG_HOME": str(tmp_path)}, cwd=tmp_path)
    assert found.projects == {}
    assert (found.settle.image, found.settle.server) == (timedelta(minutes=2), timedelta(minutes=10))


@pytest.mark.parametrize("given", ["given", "variable"])
def test_a_file_that_is_named_must_be_there(tmp_path: Path, given: str) -> None:
    missing = str(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match=r"none\.yaml"):
        read_settings(missing if given == "given" else None, environ={"B2I_CONFIG": missing}, cwd=tmp_path)


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path) -> None:
    file = write(
        tmp_path / "b2i.yaml", f"projects: {{dr: {PROJECT}x}}\nsettle:\n  image: 2\nallowed: [x]\njournal: redis://u:p@x\n"
    )
    with pytest.raises(UsageError) as wrong:
        read_settings(environ={}, cwd=tmp_path)
    assert [problem.split(": ")[0].removeprefix(str(file)) for problem in wrong.value.problems] == [":1", ":3", ":4", ":5"]


@pytest.mark.parametrize("text", ["- a\n", "just words", "projects: 5", "projects: [a]", "settle: now", "projects: {dr: 123}"])
def test_whatever_stands_in_it_is_answered_in_words(tmp_path: Path, text: str) -> None:
    write(tmp_path / "b2i.yaml", text)
    with pytest.raises(UsageError) as wrong:
        read_settings(environ={}, cwd=tmp_path)
    assert "b2i.yaml:1" in wrong.value.message


def test_trusted_senders_are_named_by_id_or_by_an_alias_that_is_there(tmp_path: Path) -> None:
    other = "F" * 32
    write(tmp_path / "b2i.yaml", f"projects: {{dr: {PROJECT.upper()}}}\naccept_from: [dr, {other}]\n")
    found = read_settings(environ={}, cwd=tmp_path)
    assert found.senders == {PROJECT, other.lower()}
    write(tmp_path / "b2i.yaml", f"projects: {{dr: {PROJECT}}}\naccept_from: [dr, shop, 12x]\n")
    with pytest.raises(UsageError) as wrong:
        read_settings(environ={}, cwd=tmp_path)
    assert "'shop', '12x'" in wrong.value.message
    assert "b2i.yaml:2" in wrong.value.message


def test_the_journal_lies_beside_the_settings_or_where_the_system_keeps_state(tmp_path: Path) -> None:
    file = write(tmp_path / "etc" / "b2i.yaml", "journal: notes")
    assert read_settings(str(file), environ={}).journal_place({}) == file.parent / "notes"
    absolute = Settings(journal=str(tmp_path / "elsewhere"))
    assert absolute.journal_place({}) == tmp_path / "elsewhere"
    assert Settings().journal_place({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "b2i" / "journal"
    assert Settings().journal_place({}) == Path.home() / ".local/state/b2i/journal"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("redis://shop-db", "redis://shop-db:6379/0"),
        ("valkey://shop-db:7000/3?prefix=shop:", "valkey://shop-db:7000/3?prefix=shop"),
        ("rediss://b2i@shop-db/0?ca=/etc/ssl/own.pem", "rediss://b2i@shop-db:6379/0?ca=/etc/ssl/own.pem"),
        ("valkeys://[::1]:7000", "valkeys://[::1]:7000/0"),
        ("unix:///run/valkey/b2i.sock", "unix:///run/valkey/b2i.sock"),
        ("unix://b2i@/run/b2i.sock?db=2&prefix=a.b", "unix://b2i@/run/b2i.sock?db=2&prefix=a.b"),
    ],
)
def test_a_journal_may_be_the_address_of_a_server(tmp_path: Path, address: str, told: str) -> None:
    write(tmp_path / "b2i.yaml", f"journal: '{address}'")
    place = read_settings(environ={}, cwd=tmp_path).journal_place({"B2I_JOURNAL_PASSWORD": "hush"})
    assert isinstance(place, SharedPlace)
    assert str(place) == told
    assert place.password is not None
    assert place.password.get_secret_value() == "hush"
    assert "hush" not in f"{place!r} {place}"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("redis://b2i:hush@shop-db:7000/1", "`journal: redis://b2i@shop-db:7000/1`, and put it into B2I_JOURNAL_PASSWORD"),
        ("rediss://:hush@shop-db", "`journal: rediss://shop-db`"),
        ("redis://shop-db?password=hush", "B2I_JOURNAL_PASSWORD"),
        ("redis://shop-db:hush", "port"),
        ("redis://shop-db:99999", "port"),
        ("redis:/hush", "such as redis://"),
        ("redis:///0?prefix=hush", "no address of a server"),
        ("unix://hush/run/x", "no address of a server"),
        ("unix:///", "no address of a server"),
        ("redis://shop-db/hush", "number of its database"),
        ("redis://shop-db/0#hush", "no address of a server"),
        ("redis://shop-db?ssl_cert_reqs=hush", "ssl_cert_reqs: unknown"),
        ("redis://shop-db?ca=hush", "ca: unknown"),
        ("redis://shop-db?hush", "NAME=VALUE"),
        ("redis://shop-db?prefix=*hush", "a prefix is"),
        ("mysql://root:hush@shop-db", "a folder, or an address such as redis://"),
        ("http://hush", "a folder, or an address such as redis://"),
    ],
)
def test_an_address_that_is_wrong_is_told_without_repeating_what_may_be_a_secret(
    tmp_path: Path, address: str, words: str
) -> None:
    write(tmp_path / "b2i.yaml", f"settle: {{image: 1m}}\njournal: {address}\n")
    with pytest.raises(UsageError) as wrong:
        read_settings(environ={}, cwd=tmp_path)
    (problem,) = wrong.value.problems
    assert problem.startswith(f"{tmp_path / 'b2i.yaml'}:2: journal: ")
    assert words in problem
    assert "hush" not in problem
    with pytest.raises(ValueError, match="journal") as spoken:
        Settings(journal=address)
    assert "hush" not in str(spoken.value)


def test_an_address_with_a_user_wants_the_password_from_the_environment() -> None:
    with pytest.raises(UsageError, match="B2I_JOURNAL_PASSWORD"):
        Settings(journal="redis://b2i@shop-db").journal_place({})
