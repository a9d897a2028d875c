"""`pgcurl -help`."""

import textwrap

from pgcurl.flags import SECTIONS, Flag

WIDTH = 100

BEFORE = """\
Usage:
  pgcurl [flags] [address] SERVICE/METHOD
  pgcurl [flags] [address] list [SERVICE]
  pgcurl [flags] [address] describe [SYMBOL]
  pgcurl [flags] [address] -batch FILE

Calls any gRPC server and shows what it offers. Flags stand before the address, with one dash or two:
-name value, -name=value; those without a value are turned off by -name=false.

The address is HOST:PORT, or the path of a unix socket with -unix. Without one it is PULLGATE_ADDRESS, or else
the pullgate server of this machine (127.0.0.1:50051); PULLGATE_TLS, _CA, _CERT, _KEY, _TOKEN and _TOKEN_FILE, and the
operator token in the data directory, apply to that server alone. An address on the command line is spoken to
over TLS unless -plaintext is given, and is sent nothing but the headers on the command line.
"""

AFTER = """\
Exit codes:
  0    the call ended with OK, or what was asked for was printed
  1    it failed before there was a status: no connection, bad request data, no such method
  2    wrong usage
  64+N the call ended with the gRPC status N: 67 InvalidArgument, 68 DeadlineExceeded, 69 NotFound,
       71 PermissionDenied, 76 Unimplemented, 78 Unavailable, 80 Unauthenticated
  130  interrupted

Examples:
  pgcurl list
  pgcurl describe pullgate.v1.PolicyDecisionService
  pgcurl -d '{"reference": "nginx", "identity": {"username": "dev"}}' pullgate.v1.PolicyDecisionService/Decide
  pgcurl -plaintext localhost:8080 list
  pgcurl -cacert ca.pem -H 'authorization: Bearer ${TOKEN}' -expand-headers grpc.acme.io:443 acme.v1.Users/Get
  pgcurl -plaintext -d @ localhost:8080 acme.v1.Chat/Talk
  pgcurl -batch calls.jsonl
  source <(pgcurl -completion bash)
"""


def help_text() -> str:
    """What there is to say."""
    sections = "\n".join(f"{title}:\n" + "".join(_about(flag) for flag in flags) for title, flags in SECTIONS.items())
    return f"{BEFORE}\n{sections}\n{AFTER}"


def _about(flag: Flag) -> str:
    value = f" {flag.kind.value}" if flag.kind.value else ""
    text = textwrap.fill(flag.help, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return f"  -{flag.name}{value}\n{text}\n"
