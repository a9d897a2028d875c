"""Whatever lies in a repository: a clear message, and all the rest is checked."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from pullgate_finders.tree import MAX_FILE_BYTES
from tests.check.checking import offline, report, write

DENIED = {"zz/Dockerfile": "FROM someuser/x\n"}
"""What is found after all else, if that is got past."""


def told(*arguments):
    """The troubles by file; the rest of the tree was checked."""
    data = report(*arguments)
    assert "zz/Dockerfile" in {finding["file"] for finding in data["findings"]}
    return {item["file"]: item["problem"] for item in data["troubles"]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x7fELF\0\0\0\0", "is binary"),
        ("FROM ä\n".encode("latin-1"), "is not UTF-8: byte 6 cannot be read; save it as UTF-8"),
        ("FROM a\n#".encode("utf-16") + b"F", "is not UTF-16: byte 19 cannot be read; save it as UTF-8"),
        (b"FROM a\n" + b"#" * MAX_FILE_BYTES, "is larger than 10 MB"),
    ],
    ids=["binary", "latin-1", "half of utf-16", "large"],
)
def test_contents_that_cannot_be_read(repository, content, problem):
    """Binary files, other encodings and files too large are told of."""
    write(repository, {"Dockerfile": content, **DENIED})

    assert told() == {"Dockerfile": problem}


def test_other_encodings_that_say_what_they_are(repository):
    """UTF-16 with its mark and Windows' line ends are read, and the places are in characters."""
    write(repository, {"Dockerfile": "# ü漢\r\nFROM someuser/y\r\n".encode("utf-16"), **DENIED})
    finding = report()["findings"][0]

    assert (finding["line"], finding["column"], finding["end_column"]) == (2, 6, 16)


def test_what_is_no_file(repository):
    """Pipes, links out of the tree, to nowhere, to themselves and in cycles are told where they may hide something."""
    write(repository, DENIED)
    write(repository.parent, {"outside/Dockerfile": "FROM secret\n"})
    os.mkfifo(repository / "a.Dockerfile")
    for name, target in {
        "b.Dockerfile": "../outside/Dockerfile",
        "c.Dockerfile": "nowhere",
        "d.Dockerfile": "d.Dockerfile",
        "outside": "../outside",
        "zz/cycle": "..",
        "inside": "zz",
    }.items():
        (repository / name).symlink_to(target)

    assert told() == {
        "a.Dockerfile": "is no regular file",
        "b.Dockerfile": "is a symbolic link that leads out of what is checked",
        "c.Dockerfile": "does not exist",
        "d.Dockerfile": "cannot be read: Too many levels of symbolic links",
        "outside": "is a symbolic link to a directory outside of what is checked, and is not looked into",
    }
    assert told("a.Dockerfile", "zz")["a.Dockerfile"] == "is no regular file"


def test_what_may_not_be_read(repository, monkeypatch):
    """Files that may not be read, and directories that may not be listed, are told of."""
    write(repository, {"Dockerfile": "FROM a\n", "closed/Dockerfile": "FROM a\n", **DENIED})
    scandir, open_file = os.scandir, Path.open

    # Whoever runs the tests may be the superuser, to whom nothing is closed.
    def closed(path, *, to):
        if os.fspath(path) == str(repository / to):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    def open_unless_closed(path, *arguments, **options):
        closed(path, to="Dockerfile")
        return open_file(path, *arguments, **options)

    def list_unless_closed(path):
        closed(path, to="closed")
        return scandir(path)

    monkeypatch.setattr(Path, "open", open_unless_closed)
    monkeypatch.setattr(os, "scandir", list_unless_closed)

    assert told() == {
        "Dockerfile": "cannot be read: Permission denied",
        "closed": "cannot be listed: Permission denied",
    }


def test_directories_nested_deeper_than_python_recurses(repository):
    """A thousand directories in each other are walked."""
    write(repository, DENIED)
    deepest = "/".join(["d"] * 1200)
    # Programs that make and remove them without recursion; what Python has does not get there.
    subprocess.run(["mkdir", "-p", deepest], check=True)
    Path(deepest, "Dockerfile").write_text("FROM someuser/deep\n")
    try:
        assert told() == {}
        assert report()["summary"]["denied"] == 2
    finally:
        subprocess.run(["rm", "-rf", "d"], check=True)


def test_names_of_any_bytes(repository):
    """Files whose names are no UTF-8, or drive terminals, are checked in every form, and their names escaped."""
    name = os.fsdecode(b"\xff\x1b[31m.Dockerfile")
    write(repository, {name: "FROM someuser/x\n"})
    for form in ("text", "json", "sarif", "junit", "github", "gitlab"):
        printed = offline("--format", form).stdout_bytes
        assert b"\x1b" not in printed
        assert b"31m" in printed
        printed.decode()
        assert offline("--format", form, "--output", "../report").exit_code == 1


def test_a_defect_of_a_finder_costs_one_file(repository):
    """A finder that raises is told of where it did, with what it had found so far."""
    write(repository, {"x.images": "image nginx\ndefect\nimage redis", **DENIED})

    assert told() == {"x.images": "cannot be read any further, by a defect of pullgate (ZeroDivisionError: a defect)"}
    assert report()["summary"]["allowed"] == 1


@pytest.mark.parametrize(
    ("content", "arguments", "code"),
    [
        (b"\0", ["Dockerfile"], 3),
        (b"\0", ["."], 0),
        (b"\0", [], 0),
        (b"\0", ["Dockerfile", "--exit-zero"], 3),
        (b"\0", ["Dockerfile", "--exclude", "Dockerfile"], 0),
        ("FROM ä\nFROM nginx\n".encode("latin-1"), ["Dockerfile"], 0),
        ("# nothing is built yet\n", ["Dockerfile"], 0),
    ],
)
def test_what_is_named_has_to_be_readable(repository, content, arguments, code):
    """Who names a file wants to know of it: one that cannot be read at all is not passed over, as in a tree it is."""
    write(repository, {"Dockerfile": content})

    assert offline(*arguments).exit_code == code


@pytest.mark.parametrize("name", ["image.bin", "notes.txt"])
def test_what_is_named_has_to_be_of_a_format(repository, name):
    """Neither is one that no finder reads, whatever it is called."""
    write(repository, {"image.bin": b"\0", "notes.txt": "nothing\n", "Dockerfile": "FROM nginx\n"})

    assert offline("Dockerfile", name).exit_code == 3


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        f"services:\n  web: {{image: nginx}}\n{BOMB}",
        "services:\n" + "".join(f"{' ' * (depth + 1)}a:\n" for depth in range(5000)),
        f"services: {'[' * 20_000}",
        "services: {web: &w {image: nginx, <<: *w}}\n",
        "services:\n  web:\n    image: !!python/object/apply:os.system ['true']\n",
        "services:\n\tweb: {image: nginx}\n",
    ],
    ids=["billion laughs", "deep block", "deep flow", "recursive alias", "tag", "tab"],
)
def test_yaml_made_to_hurt(repository, text):
    """YAML that explodes, nests without end or wants to run something holds nobody up."""
    write(repository, {"compose.yaml": text, ".gitlab-ci.yml": text, "k8s.yaml": text, **DENIED})

    assert set(told()) <= {"compose.yaml", ".gitlab-ci.yml", "k8s.yaml"}


def test_lines_without_end(repository):
    """A line of ten million characters is read, and cut where it is shown."""
    write(repository, {"Dockerfile": f"FROM someuser/x{' ' * 9_000_000}AS web\n# pullgate: ignore {'x' * 1_000_000}\n"})
    shown = offline().stdout

    assert max(map(len, shown.splitlines())) < 200
