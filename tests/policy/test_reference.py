"""Image references are read as distribution/reference reads them, and what is wrong is said with its place."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_policy import InvalidReferenceError, parse_reference
from pullgate_policy.reference import DOCKER_HUB_HOSTS, MAX_REFERENCE_LENGTH, canonical_registry

SHA = "a" * 64
HEX64 = "0123456789abcdef" * 4

VALID = [
    # written, normalised, familiar
    ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
    ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
    ("library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
    ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
    ("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
    ("acme/app", "docker.io/acme/app:latest", "acme/app:latest"),
    ("library/foo/bar", "docker.io/library/foo/bar:latest", "library/foo/bar:latest"),
    ("store/foo/bar", "docker.io/store/foo/bar:latest", "store/foo/bar:latest"),
    ("ghcr.io/a/b:1", "ghcr.io/a/b:1", "ghcr.io/a/b:1"),
    ("ghcr.io/a", "ghcr.io/a:latest", "ghcr.io/a:latest"),
    ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
    ("localhost:5000/x/y", "localhost:5000/x/y:latest", "localhost:5000/x/y:latest"),
    # one component is never a registry, whatever it looks like
    ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
    ("example.com", "docker.io/library/example.com:latest", "example.com:latest"),
    ("test.com:5000", "docker.io/library/test.com:5000", "test.com:5000"),
    ("192.168.0.1:80", "docker.io/library/192.168.0.1:80", "192.168.0.1:80"),
    ("foo_bar.com:8080", "docker.io/library/foo_bar.com:8080", "foo_bar.com:8080"),
    # an uppercase first component is a registry
    ("Foo/bar", "Foo/bar:latest", "Foo/bar:latest"),
    ("LOCALDOMAIN/debian", "LOCALDOMAIN/debian:latest", "LOCALDOMAIN/debian:latest"),
    ("Docker/docker", "Docker/docker:latest", "Docker/docker:latest"),
    # IPv6
    ("[fc00::1]:5000/x", "[fc00::1]:5000/x:latest", "[fc00::1]:5000/x:latest"),
    ("[::1]/x:v", "[::1]/x:v", "[::1]/x:v"),
    # separators
    ("a__b/c-d.e--f", "docker.io/a__b/c-d.e--f:latest", "a__b/c-d.e--f:latest"),
    # digests
    (f"nginx@sha256:{SHA}", f"docker.io/library/nginx@sha256:{SHA}", f"nginx@sha256:{SHA}"),
    (f"a/b:1@sha256:{SHA}", f"docker.io/a/b:1@sha256:{SHA}", f"a/b:1@sha256:{SHA}"),
    (f"a@sha512:{SHA * 2}", f"docker.io/library/a@sha512:{SHA * 2}", f"a@sha512:{SHA * 2}"),
    # 64 hexadecimal digits are an image ID only when nothing else is there
    (f"{HEX64}:tag", f"docker.io/library/{HEX64}:tag", f"{HEX64}:tag"),
    (f"ghcr.io/{HEX64}", f"ghcr.io/{HEX64}:latest", f"ghcr.io/{HEX64}:latest"),
    (f"{HEX64[1:]}", f"docker.io/library/{HEX64[1:]}:latest", f"{HEX64[1:]}:latest"),
    # limits
    ("a" * 247, f"docker.io/library/{'a' * 247}:latest", f"{'a' * 247}:latest"),
    (f"a:{'t' * 128}", f"docker.io/library/a:{'t' * 128}", f"a:{'t' * 128}"),
    ("a:_", "docker.io/library/a:_", "a:_"),
    # spellings of Docker Hub
    *(
        (f"{spelling}/a/b", "docker.io/a/b:latest", "a/b:latest")
        for host in sorted(DOCKER_HUB_HOSTS)
        for spelling in (host, host.upper(), host.title(), f"{host}:443", f"{host.upper()}:443", f"{host}:0443")
    ),
    ("registry-1.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
]

INVALID = [
    # written, what is wrong, the character that is wrong
    ("", "is empty", 0),
    (" nginx", "white space", 0),
    ("nginx ", "white space", 5),
    ("nginx latest", "white space", 5),
    ("nginx\n", "white space", 5),
    ("nginx:1\n", "not allowed in a tag", 7),
    ("Nginx", "uppercase", 0),
    ("someuser/Custom", "uppercase", 9),
    ("Bad/Name", "uppercase", 4),
    ("ghcr.io/A/b", "uppercase", 8),
    ("nginx/", "a part of the repository path is empty", 6),
    ("/nginx", "a part of the repository path is empty", 0),
    ("a//b", "a part of the repository path is empty", 2),
    ("ghcr.io/", "the repository name is missing", 8),
    ("ghcr.io/:tag", "the repository name is missing", 8),
    ("-a", "begins with", 0),
    ("a-", "ends with", 1),
    ("a..b", "separators", 1),
    ("a___b", "separators", 1),
    ("a.-b", "separators", 1),
    ("ünïcode", "not allowed in a repository name", 0),
    ("nginx٣", "not allowed in a repository name", 5),
    ("a\x00b", "not allowed in a repository name", 1),
    ("a:", "the tag is missing", 2),
    ("a:-x", "at the start of a tag", 2),
    ("a:x:y", "not allowed in a tag", 3),
    ("a:é", "at the start of a tag", 2),
    (f"a:{'t' * 129}", "129 characters", 130),
    ("a@", "a digest is written", 2),
    ("a@sha256", "a digest is written", 2),
    ("a@sha256:", "a digest is written", 2),
    ("a@:abc", "a digest is written", 2),
    (f"a@sha256:{SHA[:-1]}", "has 64 hexadecimal digits", 72),
    (f"a@sha256:{SHA}a", "has 64 hexadecimal digits", 73),
    (f"a@sha256:{SHA[:-1]}A", "not a lowercase hexadecimal digit", 72),
    (f"a@sha256:{SHA[:-1]}g", "not a lowercase hexadecimal digit", 72),
    (f"a@md5:{SHA[:32]}", "is not one of sha256, sha384, sha512", 2),
    (f"a@SHA256:{SHA}", "is not one of sha256, sha384, sha512", 2),
    (f"a@sha256:{SHA}:tag", "not a lowercase hexadecimal digit", 73),
    (HEX64, "image ID", 0),
    (f"sha256:{SHA}", "image ID", 0),
    (f"sha512:{SHA * 2}", "image ID", 0),
    ("https://hub.docker.com/_/nginx", "web address", 0),
    ("docker://nginx", "web address", 0),
    ("host:x/y", "port is not a number", 5),
    ("host:/y", "port is missing", 5),
    ("my_registry:5000/x", "not allowed in a registry's host name", 2),
    ("foo_bar.com/x", "not allowed in a registry's host name", 3),
    ("-a.com/x", "begins with -", 0),
    ("a-.com/x", "ends with -", 1),
    ("a..com/x", "an empty part", 2),
    (".com/x", "an empty part", 0),
    ("docker.io./a/b", "an empty part", 10),
    ("[::1/x", "not closed", 4),
    ("[fe80::1%eth0]:5000/x", "does not belong in an IPv6 address", 8),
    ("[::1]x/y", "not [IPv6]", 5),
    ("/".join("a" * 128) + "/a", "257 characters", 255),
]


@pytest.mark.parametrize(("written", "normalised", "familiar"), VALID)
def test_valid(written: str, normalised: str, familiar: str) -> None:
    """A reference has one normalised and one familiar form."""
    reference = parse_reference(written)

    assert (normalised, familiar) == (str(reference), reference.familiar)


@pytest.mark.parametrize(("written", "problem", "position"), INVALID)
def test_invalid(written: str, problem: str, position: int) -> None:
    """What is no reference is refused with the problem and the character where it lies."""
    with pytest.raises(InvalidReferenceError, match=re.escape(problem)) as raised:
        parse_reference(written)

    assert (written, position) == (raised.value.text, raised.value.position)
    assert f"(at character {position + 1})" in str(raised.value)


@pytest.mark.parametrize(
    "megabyte",
    [
        letter * (2**20 // len(letter))
        for letter in ("a", "/", "a/", "-", "a-", "__", ".", "a.", "[", "[:", ":", "@", "a@", "A", "é", "\n", "a:0/")
    ],
)
def test_a_megabyte_is_refused_by_its_length(megabyte: str) -> None:
    """A megabyte of anything is refused by the limit, before any part of it is looked at, in a short message."""
    with pytest.raises(InvalidReferenceError, match=f"no reference has more than {MAX_REFERENCE_LENGTH}") as raised:
        parse_reference(megabyte)

    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "hostile",
    [
        (piece * MAX_REFERENCE_LENGTH)[: MAX_REFERENCE_LENGTH - 1] + "!"
        for piece in ("a", "a-", "-", "a/", "a.", "0.0-")
    ],
)
def test_hostile_input_at_the_limit_is_refused(hostile: str) -> None:
    """Input made to send a backtracking matcher astray is refused like any other (a hang would fail the run)."""
    for text in (hostile, f"x.io/{hostile}"[:MAX_REFERENCE_LENGTH], f"{hostile[:-2]}/a!"):
        with pytest.raises(InvalidReferenceError):
            parse_reference(text)


COMPONENT = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
HOST = st.from_regex(
    r"([a-zA-Z0-9]{1,6}\.[a-zA-Z0-9]{1,6}|localhost|[A-Z]{1,4}|\[[a-f0-9:]{2,8}:[a-f0-9]{1,4}\])(:[0-9]{1,5})?",
    fullmatch=True,
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGEST = st.sampled_from([("sha256", 64), ("sha384", 96), ("sha512", 128)]).flatmap(
    lambda kind: st.text("0123456789abcdef", min_size=kind[1], max_size=kind[1]).map(lambda hex_: f"{kind[0]}:{hex_}")
)


@st.composite
def references(draw: st.DrawFn) -> str:
    """References of every form, as people write them."""
    parts = draw(st.lists(COMPONENT, min_size=1, max_size=4))
    host = draw(st.none() | HOST)
    tag, digest = draw(st.none() | TAG), draw(st.none() | DIGEST)
    name = "/".join(parts) if host is None else f"{host}/{'/'.join(parts)}"
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


@given(references())
def test_parsing_the_full_form_gives_the_same_value(text: str) -> None:
    """parse(str(reference)) == reference, and so for the familiar form."""
    try:
        reference = parse_reference(text)
    except InvalidReferenceError:
        return

    assert reference == parse_reference(str(reference))
    assert reference == parse_reference(reference.familiar)


@given(st.text(max_size=60) | st.text("aA0./:@[]-_ \n", max_size=30))
def test_anything_is_read_or_refused(text: str) -> None:
    """Every text is either a reference or refused with a position within it; nothing else is raised."""
    try:
        reference = parse_reference(text)
    except InvalidReferenceError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("GHCR.io", "ghcr.io"),
        ("ghcr.io:443", "ghcr.io"),
        ("ghcr.io:00443", "ghcr.io"),
        ("ghcr.io:5000", "ghcr.io:5000"),
        ("[::1]:443", "[::1]"),
        ("Registry-1.Docker.IO:443", "docker.io"),
        ("docker.io:80", "docker.io:80"),
        ("a/b", None),
        ("", None),
        ("*.acme.io", None),
    ],
)
def test_canonical_registry(host: str, canonical: str | None) -> None:
    """Registries are compared in one spelling."""
    assert canonical == canonical_registry(host)
