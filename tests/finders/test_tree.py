"""Files of a tree: what is read of them, and what is not."""

import os
from pathlib import Path

import pytest

from pullgate_finders.port import UnreadableFileError
from pullgate_finders.tree import FilesInMemory, FilesOnDisk, join


@pytest.fixture(params=["memory", "disk"])
def files(request, tmp_path):
    """The same tree in memory and on disk."""
    texts = {"Dockerfile": "FROM a\n", "web/compose.yaml": "services:\n", "web/.env": "A=1\n"}
    if request.param == "memory":
        return FilesInMemory(texts)
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return FilesOnDisk(tmp_path)


def test_a_tree_is_listed_and_read(files):
    """Both kinds of trees name their files alike, and give their texts."""
    assert list(files.paths()) == ["Dockerfile", "web/.env", "web/compose.yaml"]
    assert list(files.names("web")) == [".env", "compose.yaml"]
    assert list(files.names("")) == ["Dockerfile"]
    assert list(files.names("nowhere")) == []
    assert files.read("web/.env") == "A=1\n"
    assert files.is_file("web/.env")
    assert not files.is_file("web")
    assert not files.is_file("../web/.env")


@pytest.mark.parametrize("path", ["../secret", "..", "/etc/passwd", "web/missing"])
def test_what_is_outside_or_missing_is_refused(files, path):
    """A path that leads out of the tree is refused like one that is not there."""
    with pytest.raises(UnreadableFileError, match=r"lies outside of what is checked|does not exist"):
        files.read(path)


@pytest.mark.parametrize(
    ("directory", "path", "joined"),
    [
        ("", "Dockerfile", "Dockerfile"),
        ("web", "./Dockerfile", "web/Dockerfile"),
        ("web", "../db/Dockerfile", "db/Dockerfile"),
        ("web", "../../x", "../x"),
        ("web", "/abs", "/abs"),
        ("", "./", "."),
    ],
)
def test_paths_are_joined_as_they_are_meant(directory, path, joined):
    """A path in a file counts from the file's directory."""
    assert join(directory, path) == joined


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"FROM a\n", "FROM a\n"),
        (b"\xef\xbb\xbfFROM a\n", "FROM a\n"),
        ("FROM ä\n".encode("utf-16"), "FROM ä\n"),
        ("FROM a\n".encode("utf-32"), "FROM a\n"),
        (b"\x7fELF\0\0\0", "is binary"),
        ("FROM ä\n".encode("latin-1"), "is not UTF-8: byte 6 cannot be read; save it as UTF-8"),
        (b"x" * (10 * 1024 * 1024 + 1), "is larger than 10 MB"),
    ],
    ids=["plain", "utf-8 mark", "utf-16", "utf-32", "binary", "latin-1", "large"],
)
def test_texts_are_read_in_the_encodings_that_say_what_they_are(tmp_path, content, outcome):
    """UTF-8 and whatever says so by a byte order mark is read; all else is told of in words."""
    (tmp_path / "file").write_bytes(content)
    try:
        assert FilesOnDisk(tmp_path).read("file") == outcome
    except UnreadableFileError as error:
        assert error.problem == outcome


def test_links_are_followed_within_the_tree_alone(tmp_path):
    """A link within the tree is read; one that leads out, also through a directory, is refused; no cycle is entered."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "sub/file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (root / "good").symlink_to("sub/file")
    (root / "bad").symlink_to("../secret")
    (root / "out").symlink_to("..")
    (root / "sub/cycle").symlink_to("..")
    (root / "dangling").symlink_to("nowhere")
    (root / "self").symlink_to("self")
    files = FilesOnDisk(root)

    assert files.read("good") == "inside"
    assert list(files.paths()) == ["bad", "dangling", "good", "self", "sub/file"]
    for path, problem in {
        "bad": "is a symbolic link that leads out of what is checked",
        "out/secret": "is a symbolic link that leads out of what is checked",
        "dangling": "does not exist",
        "self": "cannot be read: Too many levels of symbolic links",
    }.items():
        with pytest.raises(UnreadableFileError) as raised:
            files.read(path)
        assert raised.value.problem == problem


def test_a_pipe_is_not_waited_for(tmp_path):
    """What is no regular file is refused without being opened."""
    os.mkfifo(tmp_path / "Dockerfile")

    with pytest.raises(UnreadableFileError, match=r"is no regular file"):
        FilesOnDisk(tmp_path).read("Dockerfile")


def test_what_was_fetched_is_left_aside(tmp_path):
    """Directories of version control and of installed packages are not walked, but read when they are named."""
    for name in (".git", "node_modules", "src"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text("FROM a\n")
    files = FilesOnDisk(Path(tmp_path))

    assert list(files.paths()) == ["src/Dockerfile"]
    assert list(files.paths("node_modules")) == ["node_modules/Dockerfile"]


def test_directories_are_listed_without_links_and_what_is_fetched(tmp_path):
    """A tree on disk and one in memory list the same directories; links and `.git` are left out of those on disk."""
    for path in ("a/b/c.yml", "a/d.yml", ".git/config"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x", encoding="utf-8")
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    on_disk, in_memory = FilesOnDisk(tmp_path), FilesInMemory({"a/b/c.yml": "", "a/d.yml": ""})

    for directory in ("", "a", "a/b", "nowhere", "../a", "a\0"):
        assert list(on_disk.directories(directory)) == list(in_memory.directories(directory))
    assert list(on_disk.directories("a")) == ["b"]


def test_a_nul_in_a_path_is_told(tmp_path):
    """A path with a NUL, as a quoted text in YAML may hold, is told to be none."""
    for files in (FilesOnDisk(tmp_path), FilesInMemory({})):
        with pytest.raises(UnreadableFileError, match="is no file name"):
            files.read("a\0b")
