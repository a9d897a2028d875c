"""The flags: their names, kinds and help. Nothing here imports grpc, so that -help and -version answer at once."""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a flag takes."""

    SWITCH = ""
    TEXT = "string"
    SECONDS = "float"
    NUMBER = "int"
    REPEATED = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag as it stands on the command line, without its dash.

    Attributes:
        takes_file: whether its value is the name of a file or directory, for completion.
    """

    name: str
    kind: Kind
    help: str
    takes_file: bool = False

    @property
    def attribute(self) -> str:
        """Its name among the options."""
        return ATTRIBUTES.get(self.name, self.name.replace("-", "_"))


ATTRIBUTES = {"H": "headers", "rpc-header": "rpc_headers", "reflect-header": "reflect_headers", "d": "data",
              "v": "verbose", "vv": "very_verbose"}  # fmt: skip
"""Names that read better than those of the flags."""


def _switch(name: str, text: str) -> Flag:
    return Flag(name=name, kind=Kind.SWITCH, help=text)


def _text(name: str, text: str, *, takes_file: bool = False) -> Flag:
    return Flag(name=name, kind=Kind.TEXT, help=text, takes_file=takes_file)


def _seconds(name: str, text: str) -> Flag:
    return Flag(name=name, kind=Kind.SECONDS, help=text)


def _repeated(name: str, text: str, *, takes_file: bool = False) -> Flag:
    return Flag(name=name, kind=Kind.REPEATED, help=text + " May be repeated.", takes_file=takes_file)


SECTIONS: dict[str, tuple[Flag, ...]] = {
    "What is sent": (
        _text(
            "d",
            "The request messages, in the format of -format. '@' reads them from standard input, '@FILE' from a file; "
            "each message is sent as soon as it is read. JSON messages follow one another; messages in the text format "
            "are separated by the character 0x1E, and one after the last separator counts, even if it is empty.",
        ),
        _repeated(
            "H",
            "A header 'name: value' of the call and of reflection; '@FILE' reads one from each line of a file. The "
            "values of headers whose names end in -bin are base64.",
        ),
        _repeated("rpc-header", "The same as -H, of the call only."),
        _repeated("reflect-header", "The same as -H, of reflection only."),
        _switch(
            "expand-headers",
            "Replace ${NAME} in headers by that environment variable, so that no secret stands on the command line.",
        ),
        _text("user-agent", "Put this before pgcurl's own user agent."),
        _switch("allow-unknown-fields", "Ignore fields in JSON requests that the message does not have."),
        _text(
            "batch",
            "Make many calls over one connection: each line of this file ('@': standard input) is a JSON object with "
            "'method', and 'data' and 'headers' if wanted; each answer is a line with 'method', 'status' and "
            "'responses'. The exit code is that of the first call that failed.",
            takes_file=True,
        ),
    ),
    "What is printed": (
        Flag(
            name="format",
            kind=Kind.TEXT,
            help="The format of requests and responses: json (the default), jsonl (responses in one line each), or "
            "text (the text format of protobuf).",
        ),
        _switch(
            "emit-defaults",
            "Print fields with their default values too, in JSON. For the messages of pullgate itself that is the "
            "default, but for messages that are not set; -emit-defaults=false leaves them out.",
        ),
        _switch("keep-proto-names", "Name fields in JSON as the .proto file does, rather than in lowerCamelCase."),
        _switch("format-error", "Print a status other than OK as google.rpc.Status in the format of -format."),
        _switch("msg-template", "With describe of a message: also show a request to fill in."),
        _switch("v", "Verbose: also the method, and the metadata in both directions."),
        _switch("vv", "Very verbose: also sizes and times."),
    ),
    "Where descriptors come from": (
        Flag(
            name="use-reflection",
            kind=Kind.SWITCH,
            help="Ask the server for descriptors. The default, unless -proto or -protoset is given; together with "
            "them, they add what the server does not tell.",
        ),
        _repeated("protoset", "A file with a FileDescriptorSet. Not together with -proto.", takes_file=True),
        _repeated("proto", "A .proto source file, found in the directories of -import-path.", takes_file=True),
        _repeated(
            "import-path",
            "A directory in which .proto files and their imports are looked for, in this order.",
            takes_file=True,
        ),
        _text(
            "protoset-out",
            "Write what is listed, described or called, and all it needs, to this file as a FileDescriptorSet.",
            takes_file=True,
        ),
        _text("proto-out-dir", "Write the same as .proto files into this directory.", takes_file=True),
    ),
    "How the server is reached": (
        _switch("plaintext", "No TLS."),
        _switch("insecure", "TLS that takes any certificate: whoever answers is believed. NOT SECURE."),
        _text("cacert", "Trust the certificates (PEM) in this file instead of the system's.", takes_file=True),
        _text("cert", "The client's own certificate (PEM), with -key.", takes_file=True),
        _text("key", "The key of -cert (PEM).", takes_file=True),
        _text(
            "authority",
            "The name of the server: the :authority of requests and, with TLS, the name that its certificate must "
            "have. Defaults to the address.",
        ),
        _text("servername", "The former name of -authority with TLS."),
        _switch("unix", "The address is the path of a unix socket."),
        _switch("alts", "Application Layer Transport Security instead of TLS, on Google Cloud."),
        _text("alts-handshaker-service", "Not offered by the gRPC library of Python: an error."),
        _repeated("alts-target-service-account", "A service account that the server may run as, with -alts."),
        _seconds("connect-timeout", "Seconds to wait for a connection; 10 if not given."),
        _seconds("max-time", "Seconds that everything may take at most; the server is told as well."),
        _seconds(
            "keepalive-time", "Seconds of silence after which the connection is probed, and again until it is given up."
        ),
        Flag(name="max-msg-sz", kind=Kind.NUMBER, help="Bytes that a response may have; 4194304 if not given."),
    ),
    "About pgcurl": (
        _switch("help", "Print this, and exit."),
        _switch("version", "Print the version, and exit."),
        _text(
            "completion",
            "Print what completes commands in a shell: bash, zsh or fish. ('words' prints the services "
            "and methods of the default server, which is what the shells ask for.)",
        ),
    ),
}
"""All flags, by what they are about."""

FLAGS = {flag.name: flag for flags in SECTIONS.values() for flag in flags}
