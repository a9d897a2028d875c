"""Callers by the names in their client certificates, as `--tls-callers` says.

    callers:
      - certificate: dns:proxy.acme.internal
        role: enforcer
        organization: acme
      - certificate: uri:spiffe://acme.internal/ci
        role: enforcer
        organization: acme
        may_assert_roles: true
      - certificate: cn:alice
        role: owner
        organization: acme
        username: alice

Names are compared whole: `dns:*.acme.internal` is for a certificate that says just that. Of the entries that fit a
certificate with several names, the first holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pullgate_policy.caller import Caller
from pullgate_policy.document import ListOf, Record, Text, written
from pullgate_server.caller_rules import CallerGrant, read_rules
from pullgate_server.errors import CertificateUnknownError

NAME_KINDS = ("uri", "dns", "cn")
"""What a name in a certificate can be: a subject alternative name of these two kinds, or the common name."""


# grpc lists all alternative names together as well, where a DNS name could pass for a URI.
_NAMES_IN_CONTEXT = (("uri", "peer_uri"), ("dns", "peer_dns"), ("cn", "x509_common_name"))

MAX_CERTIFICATE_NAME_LENGTH = 200
"""Characters of a name: with what stands before it, it is the id under which its bearer's writes are kept."""


def certificate_name(text: str) -> str:
    """A name in a certificate with its kind before it, in the one spelling that is compared; raises ValueError."""
    kind, _, name = text.partition(":")
    if len(text) > MAX_CERTIFICATE_NAME_LENGTH:
        raise ValueError(f"has {len(text)} characters, and at most {MAX_CERTIFICATE_NAME_LENGTH} are kept")
    if kind not in NAME_KINDS or not name:
        raise ValueError("is not a certificate's name, such as dns:proxy.acme.internal, uri:spiffe://acme/ci or cn:ci")
    return f"dns:{name.lower()}" if kind == "dns" else text


def certificate_names(auth_context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The names in the client's certificate, as `CertificateCallers` compares them.

    Args:
        auth_context: what `ServicerContext.auth_context()` gives. Without a client certificate there are no names.
    """
    return tuple(
        certificate_name(f"{kind}:{name}")
        for kind, key in _NAMES_IN_CONTEXT
        for name in (value.decode(errors="replace") for value in auth_context.get(key, ()))
        if name
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRule(CallerGrant):
    """Who has a certificate with this name, and what they are."""

    certificate: str = written(Text(certificate_name))


@dataclass(frozen=True, slots=True, kw_only=True)
class _CertificateCallersDocument:
    callers: tuple[CertificateRule, ...] = written(ListOf(Record(CertificateRule)))

    def __post_init__(self) -> None:
        names = [rule.certificate for rule in self.callers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"callers: {', '.join(twice)} stands twice, and only the first would hold")


_document: Record[_CertificateCallersDocument] = Record(_CertificateCallersDocument)


def read_certificate_callers(path: Path) -> Sequence[CertificateRule]:
    """The entries of the document at `path`; raises StartupError with all that is wrong in it."""
    return read_rules(path, "--tls-callers", _document).callers


class CertificateCallers:
    """Knows callers by the names in their certificates. Immutable."""

    def __init__(self, rules: Iterable[CertificateRule]) -> None:
        self._callers = {
            rule.certificate: (
                position,
                rule.caller(
                    f"certificate:{rule.certificate}", name=rule.name or rule.certificate, username=rule.username
                ),
            )
            for position, rule in enumerate(rules)
        }

    def caller_of(self, names: Sequence[str]) -> Caller:
        """The caller with a certificate of these names, as `certificate_names` gives them.

        Raises:
            CertificateUnknownError: no entry fits.
        """
        fitting = [self._callers[name] for name in names if name in self._callers]
        if not fitting:
            raise CertificateUnknownError(names)
        return min(fitting, key=lambda found: found[0])[1]
