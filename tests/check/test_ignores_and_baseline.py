"""What does not count: findings that a comment ignores with a reason, and those that a baseline lists."""

import json

import pytest

from tests.check.checking import offline, report, run, write


@pytest.mark.parametrize(
    ("text", "reason", "trouble"),
    [
        ("# pullgate: ignore replaced in May\nimage someuser/x", "replaced in May", None),
        ("// pullgate: ignore replaced in May\nimage someuser/x", "replaced in May", None),
        ("  #pullgate:ignore: replaced\nimage someuser/x", "replaced", None),
        ("image someuser/x # pullgate: ignore replaced", "replaced", None),
        ("# pullgate: ignore replaced\r\nimage someuser/x", "replaced", None),
        ("# pullgate: ignore\nimage someuser/x", None, 1),
        ("image someuser/x # pullgate: ignore", None, 1),
        ("# pullgate: ignore   \nimage someuser/x # pullgate: ignore replaced", "replaced", None),
        ("# pullgate: ignore replaced\n\nimage someuser/x", None, None),
        ("image nginx # pullgate: ignore replaced\nimage someuser/x", None, None),
        ("# pullgate: ignored replaced\nimage someuser/x", None, None),
        ("# pullgate ignore replaced\nimage someuser/x", None, None),
        ("image someuser/x # see 'x' \"y\" # pullgate: ignore replaced", "replaced", None),
        ("# an image\nimage someuser/x // pullgate: ignore replaced", "replaced", None),
        ("note 'x # pullgate: ignore replaced'\nimage someuser/x", None, None),
        ('image someuser/x # "a \\" # pullgate: ignore replaced"', None, None),
        ("image someuser/x # 'it # pullgate: ignore replaced", None, None),
        ("image someuser/x # http://pullgate:ignore/x", None, None),
        ("image someuser/x # //pullgate:ignore/x", None, None),
        ("image someuser/x # see#pullgate: ignore replaced", None, None),
        ("# pullgate: ignore -->\nimage someuser/x", None, 1),
        ("# pullgate: ignore x\nimage someuser/x", None, 1),
        ("# pullgate: ignore #7 ü\nimage someuser/x", "#7 ü", None),
    ],
)
def test_comments_that_ignore(repository, text, reason, trouble):
    """On the same line, or alone on the one before, with a reason: without one nothing is ignored, which is told."""
    write(repository, {"x.images": text})
    data = report()

    assert [finding["ignored"] for finding in data["findings"] if finding["status"] == "denied"] == [reason]
    assert [item["line"] for item in data["troubles"]] == ([] if trouble is None else [trouble])
    assert offline().exit_code == (1 if reason is None else 0)
    if trouble:
        assert "this ignores nothing, because it says no reason; write: pullgate: ignore REASON" in offline().stdout


def test_what_is_ignored_stays_in_sight(repository):
    """What is ignored is counted, and shown with the reason by --verbose."""
    write(repository, {"Dockerfile": "# pullgate: ignore replaced in May\nFROM someuser/x\n"})

    assert offline().stdout == "1 image reference in 1 file: 0 allowed, 1 ignored\n"
    assert "IGNORED  docker.io/someuser/x:latest" in offline("-v").stdout
    assert "ignore    replaced in May" in offline("-v").stdout


def test_whoever_may_not_leave_it_to_the_author_passes_over_comments(repository):
    """With --no-ignores a comment has nothing not count."""
    write(repository, {"Dockerfile": "# pullgate: ignore replaced in May\nFROM someuser/x\n"})

    assert offline("--no-ignores").exit_code == 1
    assert report("--no-ignores")["findings"][0]["ignored"] is None


def test_comments_that_reach_nothing_are_told(repository):
    """Who moves an image away from its comment is told of what is left: under -v, in JSON, and without failing."""
    write(
        repository,
        {
            "Dockerfile": "# pullgate: ignore no longer here\n\nFROM nginx # pullgate: ignore for now\n",
            "x.images": "# pullgate: ignore\n\nimage nginx",
            "README.md": "# pullgate: ignore not looked into\n",
            "left-out/x.images": "# pullgate: ignore left out\n\nimage nginx",
        },
    )
    unused = report("--exclude", "left-out")["unused_ignores"]

    assert [(item["file"], item["line"], item["column"], item["reason"]) for item in unused] == [
        ("Dockerfile", 1, 1, "no longer here"),
        ("x.images", 1, 1, ""),
    ]
    assert report("--no-ignores")["unused_ignores"] == []
    result = offline("-v", "--fail-on", "unresolved", "--exclude", "left-out")
    assert result.exit_code == 0
    assert "where they stand:\n  Dockerfile:1: no longer here\n  x.images:1\n" in result.stdout
    assert "no longer here" not in offline().stdout


def test_trouble_is_ignored_like_all_else(repository):
    """What could not be read in a file, too, is let pass by a comment with a reason."""
    write(repository, {"x.images": "# pullgate: ignore generated\ntrouble cannot be read"})

    assert offline("--fail-on", "unresolved").exit_code == 0


@pytest.fixture
def with_baseline(repository):
    """A repository with findings of every kind, all of them in a baseline."""
    write(
        repository,
        {
            "a.images": "image someuser/x\nimage someuser/x\nunknown $X | no X\ntrouble cannot be read\nimage nginx",
            "b.images": "image someuser/b # pullgate: ignore known\nimage someuser/c",
        },
    )
    result = offline("--baseline", "baseline.json", "--write-baseline")
    assert result.exit_code == 0
    assert "baseline.json: 5 findings written" in result.stderr
    return repository


def test_a_baseline_lets_pass_what_was_there(with_baseline):
    """What it lists does not count, and is marked; what is ignored by a comment is not in it."""
    entries = json.loads((with_baseline / "baseline.json").read_text())["findings"]
    data = report("--baseline", "baseline.json")

    assert [(entry["file"], entry["status"], entry["raw"]) for entry in entries] == [
        ("a.images", "denied", "someuser/x"),
        ("a.images", "denied", "someuser/x"),
        ("a.images", "trouble", "cannot be read"),
        ("a.images", "unresolved", "$X"),
        ("b.images", "denied", "someuser/c"),
    ]
    assert offline("--baseline", "baseline.json", "--fail-on", "unresolved").exit_code == 0
    assert [finding["in_baseline"] for finding in data["findings"]] == [True, True, True, False, False, True]
    assert (data["summary"]["in_baseline"], data["summary"]["ignored"]) == (5, 1)
    assert data["outdated_baseline"] == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("\n\n# moved\nimage someuser/x\nimage someuser/x\n", 0),
        ("image someuser/x\n" * 3, 1),
        ("image someuser/x:2\n", 1),
        ("image Someuser/x/\n", 3),
    ],
)
def test_a_baseline_lets_pass_no_more(with_baseline, text, code):
    """Findings may move; one more of the same, another tag, or something else in its place counts."""
    write(with_baseline, {"a.images": text})

    assert offline("--baseline", "baseline.json", "--fail-on", "unresolved").exit_code == code


def test_what_is_gone_is_told(with_baseline):
    """Entries of files that were looked at, or are gone, and match nothing are told; others may still be right."""
    write(with_baseline, {"a.images": "image someuser/x\n"})
    told = [
        "a.images: $X",
        "a.images: cannot be read",
        "a.images: someuser/x",
    ]

    assert sorted(report("--baseline", "baseline.json")["outdated_baseline"]) == told
    assert report("--baseline", "baseline.json", "b.images")["outdated_baseline"] == []
    (with_baseline / "b.images").unlink()
    assert report("--baseline", "baseline.json")["outdated_baseline"][-1] == "b.images: someuser/c"
    assert "In the baseline, and not found any more" in offline("--baseline", "baseline.json").stdout


def test_writing_a_part_anew_leaves_the_rest(with_baseline):
    """Of files that are not looked at the entries stay."""
    write(with_baseline, {"a.images": "image someuser/new\n"})
    offline("--baseline", "baseline.json", "--write-baseline", "a.images")
    entries = json.loads((with_baseline / "baseline.json").read_text())["findings"]

    assert [entry["raw"] for entry in entries] == ["someuser/new", "someuser/c"]


@pytest.mark.parametrize("has_git", [True, False], ids=["repository", "directory"])
@pytest.mark.parametrize(
    "paths", [["a"], ["a", "b"], ["b/c", "b"], ["a/x.images"], ["a/x.images", "b/c/x.images"], ["."], []], ids="-".join
)
def test_a_baseline_is_the_same_whichever_paths_are_named(repository, paths, has_git):
    """Entries name files by the same root whether all is checked or a part, in a repository and without one."""
    if not has_git:
        (repository / ".git").rmdir()
    write(repository, {f"{folder}/x.images": f"image someuser/{folder}" for folder in ("a", "b", "b/c")})
    options = ("--baseline", "baseline.json")
    assert offline(*options, "--write-baseline").exit_code == 0
    whole = (repository / "baseline.json").read_text()

    assert offline(*options, *paths).exit_code == 0
    assert report(*options, *paths)["outdated_baseline"] == []
    assert offline(*options, "--write-baseline", *paths).exit_code == 0
    assert (repository / "baseline.json").read_text() == whole


def test_without_a_repository_paths_elsewhere_have_their_own_root(repository, monkeypatch):
    """Of paths that do not lie below the current directory the root is the directory that they have in common."""
    (repository / ".git").rmdir()
    write(repository, {"here/x": "", "a/b/x.images": "image nginx", "a/c/x.images": "image nginx"})
    monkeypatch.chdir(repository / "here")
    data = json.loads(run("--policy", "../../acme.yaml", "--format", "json", "../a/b", "../a/c").stdout)

    assert data["root"] == str(repository / "a")


def test_a_denial_whatever_the_tag_is_let_pass_like_another(repository):
    """The key of what is denied by its repository alone is how it stands in the file, so that reasons may change."""
    write(repository, {"x.images": "unknown someuser/x:$A | no A"})
    options = ("--baseline", "baseline.json")
    offline(*options, "--write-baseline")
    (entry,) = json.loads((repository / "baseline.json").read_text())["findings"]
    before = report(*options)["findings"][0]["fingerprint"]
    write(repository, {"x.images": "\nunknown someuser/x:$A | A is not set"})

    assert (entry["status"], entry["raw"], entry["reference"]) == ("denied", "someuser/x:$A", "")
    assert offline(*options).exit_code == 0
    assert report(*options)["findings"][0]["fingerprint"] == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read: No such file or directory; --write-baseline makes one"),
        ("{", "is no JSON"),
        ("[]", "it has no list of findings"),
        ('{"version": 1, "findings": {}}', "it has no list of findings"),
        ('{"version": 2, "findings": []}', "is a baseline of version 2, and version 1 is read"),
        ('{"version": 1, "findings": [{"file": "a"}]}', "findings[0] has not all of file, status"),
        ('{"version": 1, "findings": [1]}', "findings[0] has not all of"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_baseline_that_is_none(repository, text, told):
    """A baseline that cannot be read is wrong usage, and not an empty one."""
    if text is not None:
        write(repository, {"baseline.json": text})
    result = offline("--baseline", "baseline.json")

    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


def test_what_nobody_answered_is_let_pass_by_no_baseline(repository):
    """An entry that somebody wrote for images without an answer is none."""
    key = {
        "file": "x.images",
        "status": "allowed",
        "kind": "image",
        "raw": "nginx",
        "reference": "docker.io/library/nginx:latest",
    }
    write(repository, {"x.images": "image nginx", "b.json": json.dumps({"version": 1, "findings": [key]})})

    assert report("--baseline", "b.json")["summary"]["in_baseline"] == 0
