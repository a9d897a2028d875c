"""The command line, read as Go's `flag` package and grpcurl read it."""

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pgcurl.errors import UsageError
from pgcurl.flags import FLAGS, Flag, Kind

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})

FOREVER = 1e8
"""Seconds, more than three years: what is longer the gRPC library cannot count."""

MAX_NUMBER = 2**31 - 1
"""As much as the gRPC library can hold."""

FORMATS = ("json", "jsonl", "text")
SHELLS = ("bash", "zsh", "fish", "words")


class Verb(Enum):
    """What is asked for."""

    LIST = "list"
    DESCRIBE = "describe"
    INVOKE = "invoke"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The values of the flags (`pgcurl.flags` says what each means), and what stands behind them.

    Attributes:
        address: as typed; None for the default server.
        symbol: the service, symbol or method; None for all.
        warnings: what is odd, but no mistake.
    """

    verb: Verb = Verb.LIST
    address: str | None = None
    symbol: str | None = None
    warnings: tuple[str, ...] = ()

    help: bool = False
    version: bool = False
    completion: str = ""

    data: str = ""
    headers: tuple[str, ...] = ()
    rpc_headers: tuple[str, ...] = ()
    reflect_headers: tuple[str, ...] = ()
    expand_headers: bool = False
    user_agent: str = ""
    allow_unknown_fields: bool = False
    batch: str = ""

    format: str = "json"
    emit_defaults: bool | None = None
    keep_proto_names: bool = False
    format_error: bool = False
    msg_template: bool = False
    verbose: bool = False
    very_verbose: bool = False

    use_reflection: bool | None = None
    protoset: tuple[str, ...] = ()
    proto: tuple[str, ...] = ()
    import_path: tuple[str, ...] = ()
    protoset_out: str = ""
    proto_out_dir: str = ""

    plaintext: bool = False
    insecure: bool = False
    cacert: str = ""
    cert: str = ""
    key: str = ""
    authority: str = ""
    servername: str = ""
    unix: bool = False
    alts: bool = False
    alts_handshaker_service: str = ""
    alts_target_service_account: tuple[str, ...] = ()
    connect_timeout: float = 0.0
    max_time: float = 0.0
    keepalive_time: float = 0.0
    max_msg_sz: int = 0

    @property
    def verbosity(self) -> int:
        """0, 1 for -v, 2 for -vv."""
        return 2 if self.very_verbose else int(self.verbose)

    @property
    def has_files(self) -> bool:
        """Whether descriptors are read from files."""
        return bool(self.protoset or self.proto)

    @property
    def reflects(self) -> bool:
        """Whether the server is asked for descriptors."""
        return not self.has_files if self.use_reflection is None else self.use_reflection

    @property
    def speaks_tls(self) -> bool:
        """Whether a typed address is spoken to over TLS."""
        return not (self.plaintext or self.alts)

    @property
    def server_name(self) -> str:
        """What -authority or, with TLS, -servername says; empty for the address."""
        return self.authority or (self.servername if self.speaks_tls else "")


def read_options(arguments: Sequence[str]) -> Options:
    """Read the command line, without the name of the program; raises UsageError."""
    values, positionals = _parse(arguments)
    options = Options(**values)
    if options.help or options.version:
        return options
    _check(options)
    if options.completion:
        return options
    return _resolve(options, positionals)


def _parse(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Flags up to the first argument that is none; `--` ends them as well."""
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        name, equals, text = argument.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {argument}")
        if name == "h":
            name = "help"
        flag = FLAGS.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}{_meant(name)}")
        if flag.kind is Kind.SWITCH and not equals:
            text = "true"
        elif not equals:
            if not rest:
                raise UsageError(f"flag needs an argument: -{name}")
            text = rest.pop(0)
        value = _value(flag, text)
        values[flag.attribute] = (*values.get(flag.attribute, ()), value) if flag.kind is Kind.REPEATED else value
    return values, rest


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name, FLAGS, n=1)
    return f" (did you mean -{close[0]}?)" if close else ""


def _value(flag: Flag, text: str) -> bool | str | float | int:
    try:
        match flag.kind:
            case Kind.SWITCH:
                return _switched(text)
            case Kind.SECONDS:
                return _seconds(text)
            case Kind.NUMBER:
                return min(int(text, 0), MAX_NUMBER)
            case _:
                return text
    except ValueError:
        kind = "boolean value" if flag.kind is Kind.SWITCH else "value"
        raise UsageError(f'invalid {kind} "{text}" for -{flag.name}: expected {_expected(flag)}') from None


def _switched(text: str) -> bool:
    if text in TRUE | FALSE:
        return text in TRUE
    raise ValueError(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if math.isnan(seconds):
        raise ValueError(text)
    return min(seconds, FOREVER)


def _expected(flag: Flag) -> str:
    return {Kind.SWITCH: "true or false", Kind.SECONDS: "a number of seconds"}.get(flag.kind, "a whole number")


def _check(options: Options) -> None:
    """What is wrong whatever is asked for; the sentences are grpcurl's where the mistakes are."""
    for name in ("connect-timeout", "keepalive-time", "max-time", "max-msg-sz"):
        if getattr(options, FLAGS[name].attribute) < 0:
            raise UsageError(f"The -{name} argument must not be negative.")
    for sentence, holds in _mistakes(options):
        if holds:
            raise UsageError(sentence)


def _mistakes(options: Options) -> Iterator[tuple[str, object]]:
    """Sentences, and whether they hold."""
    yield "The -plaintext and -alts arguments are mutually exclusive.", options.plaintext and options.alts
    for name in ("insecure", "cert", "key"):
        used = getattr(options, name) and not options.speaks_tls
        yield f"The -{name} argument can only be used with TLS.", used
    unpaired = bool(options.key) != bool(options.cert)
    yield "The -cert and -key arguments must be used together and both be present.", unpaired
    for name in ("alts-handshaker-service", "alts-target-service-account"):
        used = getattr(options, FLAGS[name].attribute) and not options.alts
        yield f"The -{name} argument must be used with the -alts argument.", used
    yield "The -format option must be 'json', 'jsonl' or 'text'.", options.format not in FORMATS
    yield "The -batch argument is for JSON: leave out -format text.", options.batch and options.format == "text"
    unknown_shell = options.completion and options.completion not in SHELLS
    yield f"The -completion option must be one of {', '.join(SHELLS)}.", unknown_shell
    for name in ("user-agent", "authority", "servername"):
        value = getattr(options, FLAGS[name].attribute)
        yield f"The -{name} argument must be printable ASCII.", not (value.isascii() and value.isprintable())
    names_differ = options.servername and options.authority not in {"", options.servername}
    yield "Cannot specify different values for -servername and -authority.", options.speaks_tls and names_differ
    yield "Use either -protoset files or -proto files, but not both.", options.protoset and options.proto
    no_source = not options.reflects and not options.has_files
    yield "No protoset files or proto files specified and -use-reflection set to false.", no_source


def _resolve(options: Options, positionals: Sequence[str]) -> Options:
    """What the arguments behind the flags mean."""
    if misplaced := next((argument for argument in positionals if argument.startswith("-")), None):
        raise UsageError(f"Flags stand before the address and what follows it: {misplaced} does not.")
    if any("\udc80" <= character <= "\udcff" for argument in positionals for character in argument):
        raise UsageError("The address and what follows it must be UTF-8.")
    verb, address, symbol = _batched(positionals) if options.batch else _asked(positionals)
    if options.unix and address is None:
        raise UsageError("The -unix argument needs the path of a socket as the address.")
    resolved = replace(options, verb=verb, address=address, symbol=symbol)
    return replace(resolved, warnings=tuple(_warnings(resolved)))


def _batched(positionals: Sequence[str]) -> tuple[Verb, str | None, str | None]:
    if len(positionals) > 1:
        raise UsageError("Too many arguments: with -batch the methods stand in the file.")
    return Verb.BATCH, positionals[0] if positionals else None, None


def _asked(positionals: Sequence[str]) -> tuple[Verb, str | None, str | None]:
    """Verb, address and symbol. A lone SERVICE/METHOD is for the default server."""
    rest = list(positionals)
    if not rest:
        raise UsageError("Too few arguments.")
    address = None
    verbs = {verb.value: verb for verb in (Verb.LIST, Verb.DESCRIBE)}
    lone_method = len(rest) == 1 and "/" in rest[0] and ":" not in rest[0]
    if rest[0] not in verbs and not lone_method:
        address = rest.pop(0)
        if not rest:
            hint = "" if ":" in address else " A method of the default server is called as SERVICE/METHOD."
            raise UsageError(f"Too few arguments.{hint}")
        if not address:
            raise UsageError("No host:port specified.")
    verb = verbs.get(rest[0])
    if verb is not None:
        rest.pop(0)
    symbol = rest.pop(0) if rest else None
    if rest:
        raise UsageError("Too many arguments.")
    return verb or Verb.INVOKE, address, symbol or None


def _warnings(options: Options) -> list[str]:
    conditions = {
        "The -emit-defaults is only used when using json format.": bool(options.emit_defaults)
        and options.format == "text",
        "The -keep-proto-names is only used when using json format.": options.keep_proto_names
        and options.format == "text",
        "The -d argument is not used with 'list' or 'describe' verb.": bool(options.data)
        and options.verb in {Verb.LIST, Verb.DESCRIBE},
        "The -d argument is not used with -batch.": bool(options.data) and options.verb is Verb.BATCH,
        "The -v and -vv arguments are not used with -batch.": bool(options.verbosity) and options.verb is Verb.BATCH,
        "The -rpc-header argument is not used with 'list' or 'describe' verb.": bool(options.rpc_headers)
        and options.verb in {Verb.LIST, Verb.DESCRIBE},
        "The -reflect-header argument is not used when -protoset files are used.": bool(options.protoset)
        and bool(options.reflect_headers)
        and not options.reflects,
        "The -import-path argument is not used unless -proto files are used.": bool(options.import_path)
        and not options.proto,
        "Both -servername and -authority are present; prefer only -authority.": options.speaks_tls
        and bool(options.servername)
        and options.servername == options.authority,
    }
    return [warning for warning, holds in conditions.items() if holds]
