"""Rules that say which caller somebody is, and the callers that certificates have by them."""

from pathlib import Path
from typing import Any

import pytest

from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_server.caller_rules import CallerGrant
from pullgate_server.certificate_callers import CertificateCallers, certificate_name, read_certificate_callers
from pullgate_server.errors import CertificateUnknownError, StartupError

ENTRIES = """
callers:
  - {certificate: "dns:Proxy.acme.internal", role: enforcer, organization: acme, may_assert_roles: true}
  - {certificate: "uri:spiffe://acme/ci", role: enforcer, organization: acme, name: CI}
  - {certificate: "cn:alice", role: owner, organization: globex, username: alice}
  - {certificate: "cn:root", role: operator}
"""


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text."""
    path = tmp_path / "callers.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def callers(tmp_path: Path) -> CertificateCallers:
    """The callers of ENTRIES."""
    return CertificateCallers(read_certificate_callers(written(tmp_path, ENTRIES)))


@pytest.mark.parametrize(
    ("grant", "told"),
    [
        ({"role": CallerRole.OPERATOR, "organization": "acme"}, "organization: an operator belongs to none"),
        ({"role": CallerRole.ENFORCER}, "organization: is missing; write whose enforcer this is"),
        ({"role": CallerRole.MEMBER, "organization": "acme"}, "username: is missing; the role member is a person's"),
        ({"role": CallerRole.ENFORCER, "organization": "acme", "username": "x"}, "username: the role enforcer is no"),
        ({"role": CallerRole.OPERATOR, "username": "x"}, "username: the role operator is no person's"),
        (
            {"role": CallerRole.OWNER, "organization": "acme", "username": "x", "may_assert_roles": True},
            "may_assert_roles: is for enforcers alone",
        ),
        ({"role": CallerRole.OWNER}, "organization: is missing; write whose owner this is; username: is missing"),
    ],
)
def test_a_grant_that_contradicts_itself_is_refused(grant: dict[str, Any], told: str) -> None:
    """Each role has what it needs and nothing that it cannot have; all that is wrong is told at once."""
    with pytest.raises(ValueError, match=told):
        CallerGrant(**grant)


@pytest.mark.parametrize(
    ("names", "caller"),
    [
        (
            ["dns:proxy.acme.internal"],
            Caller(
                id="certificate:dns:proxy.acme.internal",
                name="dns:proxy.acme.internal",
                role=CallerRole.ENFORCER,
                organization="acme",
                may_assert_roles=True,
            ),
        ),
        (
            ["cn:alice", "uri:spiffe://acme/ci"],
            Caller(id="certificate:uri:spiffe://acme/ci", name="CI", role=CallerRole.ENFORCER, organization="acme"),
        ),
        (
            ["dns:other", "cn:alice"],
            Caller(
                id="certificate:cn:alice",
                name="cn:alice",
                role=CallerRole.OWNER,
                organization="globex",
                username="alice",
            ),
        ),
        (["cn:root"], Caller(id="certificate:cn:root", name="cn:root", role=CallerRole.OPERATOR)),
    ],
)
def test_the_first_entry_that_fits_a_certificate_holds(
    callers: CertificateCallers, names: list[str], caller: Caller
) -> None:
    """A certificate's caller is what the first entry with one of its names grants, whatever the names' order."""
    assert callers.caller_of(names) == caller
    assert callers.caller_of(names[::-1]) == caller


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["dns:acme.internal", "dns:x.proxy.acme.internal"],
        ["uri:spiffe://acme/ci/x"],
        ["uri:SPIFFE://acme/ci"],
        ["cn:proxy.acme.internal"],
        ["cn:Alice"],
        ["dns:alice"],
    ],
)
def test_a_certificate_without_an_entry_is_nobodys(callers: CertificateCallers, names: list[str]) -> None:
    """Names count whole and with their kind: neither a part of one nor the same text as another kind fits."""
    with pytest.raises(CertificateUnknownError, match="no caller is configured for the client certificate"):
        callers.caller_of(names)


@pytest.mark.parametrize("text", ["", "dns:", "proxy.acme.internal", "email:a@b.c", "DNS:x", "spiffe://acme/ci"])
def test_a_certificate_name_says_its_kind(text: str) -> None:
    """A name without a kind, or of a kind that is not compared, is refused."""
    with pytest.raises(ValueError, match="is not a certificate's name"):
        certificate_name(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("callers: [{certificate: x, role: enforcer}]", 'callers[0].certificate: "x" is not a certificate\'s name'),
        ("callers: [{certificate: 'cn:x', role: enforcr}]", "did you mean enforcer?"),
        ("callers: [{certificate: 'cn:x', role: enforcer}]", "callers[0]: organization: is missing"),
        ("callers: [{role: operator}]", "callers[0].certificate: is missing"),
        ("callers: [{certificate: 'cn:x', role: operator, name: ''}]", 'callers[0].name: "" is empty'),
        ("callers: [{certificate: 'cn:x', role: operator, organization: Acme}]", "is not lowercase"),
        (
            "callers: [{certificate: 'dns:X', role: operator}, {certificate: 'dns:x', role: operator}]",
            "dns:x stands twice",
        ),
        ("caller: []", "caller: unknown key; did you mean callers?"),
        ("callers: []\ncallers: []", 'line 2, column 1: the key "callers" stands twice'),
    ],
)
def test_a_document_with_problems_ends_the_start(tmp_path: Path, text: str, told: str) -> None:
    """Problems are told with the option, the file and their paths."""
    path = written(tmp_path, text)
    with pytest.raises(StartupError) as raised:
        read_certificate_callers(path)

    assert f"--tls-callers {path} cannot be used" in str(raised.value)
    assert told in str(raised.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Every wrong entry is named, and not the first one alone."""
    path = written(tmp_path, "callers: [{certificate: x, role: operator}, {certificate: 'cn:y', role: nobody}]")
    with pytest.raises(StartupError, match=r"(?s)callers\[0\].certificate.*callers\[1\].role"):
        read_certificate_callers(path)


def test_a_file_that_cannot_be_read_ends_the_start(tmp_path: Path) -> None:
    """A file that is missing, or is no text, is named with its option."""
    with pytest.raises(StartupError, match=r"--tls-callers .*callers.yaml cannot be read \(No such file"):
        read_certificate_callers(tmp_path / "callers.yaml")
    (tmp_path / "callers.yaml").write_bytes(b"callers: \xff")
    with pytest.raises(StartupError, match=r"is not UTF-8 text \(byte 9\)"):
        read_certificate_callers(tmp_path / "callers.yaml")
