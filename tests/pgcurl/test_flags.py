"""The command line: how flags are read, and which mistakes are told in which words with exit code 2."""

import re
import subprocess
import sys

import pytest

from pgcurl.errors import UsageError
from pgcurl.flags import FLAGS
from pgcurl.options import Options, Verb, read_options
from tests.pgcurl.running import finish, pgcurl, pgcurl_process

LIST = ("a:1", "list")


@pytest.mark.parametrize(
    ("arguments", "attribute", "value"),
    [
        (("-plaintext", *LIST), "plaintext", True),
        (("--plaintext", *LIST), "plaintext", True),
        (("-plaintext=false", *LIST), "plaintext", False),
        (("-plaintext=T", *LIST), "plaintext", True),
        (("-plaintext", "-plaintext=0", *LIST), "plaintext", False),
        (("-d", "{}", "a:1", "b/c"), "data", "{}"),
        (("--d={}", "a:1", "b/c"), "data", "{}"),
        (("-d=a=b", "a:1", "b/c"), "data", "a=b"),
        (("-d", "-x", "a:1", "b/c"), "data", "-x"),
        (("-d", "", "a:1", "b/c"), "data", ""),
        (("-H", "a: 1", "--H=b:2", *LIST), "headers", ("a: 1", "b:2")),
        (("-rpc-header", "a", "a:1", "b/c"), "rpc_headers", ("a",)),
        (("-reflect-header", "a", *LIST), "reflect_headers", ("a",)),
        (("-max-time", "1.5", *LIST), "max_time", 1.5),
        (("-max-time", "1e3", *LIST), "max_time", 1000.0),
        (("-connect-timeout=.5", *LIST), "connect_timeout", 0.5),
        (("-max-msg-sz", "0x10", *LIST), "max_msg_sz", 16),
        (("-max-msg-sz", "99999999999", *LIST), "max_msg_sz", 2**31 - 1),
        (("-max-time", "inf", *LIST), "max_time", 1e8),
        (("-connect-timeout", "1e300", *LIST), "connect_timeout", 1e8),
        (("-proto", "a", "-proto", "b", "list"), "proto", ("a", "b")),
        (("-emit-defaults=false", *LIST), "emit_defaults", False),
        (LIST, "emit_defaults", None),
        (("-use-reflection=false", "-protoset", "a", "list"), "reflects", False),
        (("-use-reflection", "-protoset", "a", *LIST), "reflects", True),
        (("-protoset", "a", "list"), "reflects", False),
        (LIST, "reflects", True),
        (("-v", *LIST), "verbosity", 1),
        (("-vv", *LIST), "verbosity", 2),
        (("-v", "-vv", *LIST), "verbosity", 2),
        (("-servername", "s", *LIST), "server_name", "s"),
        (("-servername", "s", "-plaintext", *LIST), "server_name", ""),
        (("-authority", "s", "-plaintext", *LIST), "server_name", "s"),
        (("-plaintext", "--", *LIST), "address", "a:1"),
    ],
)
def test_flags_are_read_as_go_reads_them(arguments: tuple[str, ...], attribute: str, value: object) -> None:
    """One dash or two, `=` or the next argument, the last of a kind wins, and those that repeat add up."""
    assert getattr(read_options(arguments), attribute) == value


@pytest.mark.parametrize(
    ("positionals", "verb", "address", "symbol"),
    [
        (("a:1", "list"), Verb.LIST, "a:1", None),
        (("a:1", "list", "s"), Verb.LIST, "a:1", "s"),
        (("a:1", "describe"), Verb.DESCRIBE, "a:1", None),
        (("a:1", "describe", ".s"), Verb.DESCRIBE, "a:1", ".s"),
        (("a:1", "s/m"), Verb.INVOKE, "a:1", "s/m"),
        (("a:1", "s.m"), Verb.INVOKE, "a:1", "s.m"),
        (("list",), Verb.LIST, None, None),
        (("list", "s"), Verb.LIST, None, "s"),
        (("describe", "s"), Verb.DESCRIBE, None, "s"),
        (("s/m",), Verb.INVOKE, None, "s/m"),
        (("-batch", "f"), Verb.BATCH, None, None),
        (("-batch", "f", "a:1"), Verb.BATCH, "a:1", None),
    ],
)
def test_what_is_asked_for(positionals: tuple[str, ...], verb: Verb, address: str | None, symbol: str | None) -> None:
    """An address comes first; without one the default server is meant, also by a lone SERVICE/METHOD."""
    options = read_options(positionals)

    assert (options.verb, options.address, options.symbol) == (verb, address, symbol)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Too few arguments."),
        (("a:1",), "Too few arguments."),
        (("a:1/b",), "Too few arguments."),
        (("", "list"), "No host:port specified."),
        (("a:1", "list", "b", "c"), "Too many arguments."),
        (("a:1", "b/c", "d"), "Too many arguments."),
        (("a:1", "list", "-v"), "Flags stand before the address and what follows it: -v does not."),
        (("-batch", "f", "a:1", "b/c"), "Too many arguments: with -batch the methods stand in the file."),
        (("-nonsense", *LIST), "flag provided but not defined: -nonsense"),
        (("-plaintxt", *LIST), "flag provided but not defined: -plaintxt (did you mean -plaintext?)"),
        (("---plaintext", *LIST), "bad flag syntax: ---plaintext"),
        (("-=x", *LIST), "bad flag syntax: -=x"),
        (("-d",), "flag needs an argument: -d"),
        (("-plaintext=maybe", *LIST), 'invalid boolean value "maybe" for -plaintext: expected true or false'),
        (("-max-time", "soon", *LIST), 'invalid value "soon" for -max-time: expected a number of seconds'),
        (("-max-time", "nan", *LIST), 'invalid value "nan" for -max-time: expected a number of seconds'),
        (("-max-msg-sz", "1.5", *LIST), 'invalid value "1.5" for -max-msg-sz: expected a whole number'),
        (("-connect-timeout", "-1", *LIST), "The -connect-timeout argument must not be negative."),
        (("-keepalive-time=-1", *LIST), "The -keepalive-time argument must not be negative."),
        (("-max-time=-0.1", *LIST), "The -max-time argument must not be negative."),
        (("-max-msg-sz=-1", *LIST), "The -max-msg-sz argument must not be negative."),
        (("-plaintext", "-alts", *LIST), "The -plaintext and -alts arguments are mutually exclusive."),
        (("-plaintext", "-insecure", *LIST), "The -insecure argument can only be used with TLS."),
        (("-alts", "-insecure", *LIST), "The -insecure argument can only be used with TLS."),
        (("-plaintext", "-cert", "c", "-key", "k", *LIST), "The -cert argument can only be used with TLS."),
        (("-plaintext", "-key", "k", *LIST), "The -key argument can only be used with TLS."),
        (("-cert", "c", *LIST), "The -cert and -key arguments must be used together and both be present."),
        (("-key", "k", *LIST), "The -cert and -key arguments must be used together and both be present."),
        (
            ("-alts-handshaker-service", "s", *LIST),
            "The -alts-handshaker-service argument must be used with the -alts argument.",
        ),
        (
            ("-alts-target-service-account", "s", *LIST),
            "The -alts-target-service-account argument must be used with the -alts argument.",
        ),
        (("-format", "xml", *LIST), "The -format option must be 'json', 'jsonl' or 'text'."),
        (("-batch", "f", "-format", "text"), "The -batch argument is for JSON: leave out -format text."),
        (
            ("-servername", "a", "-authority", "b", *LIST),
            "Cannot specify different values for -servername and -authority.",
        ),
        (("-protoset", "a", "-proto", "b", *LIST), "Use either -protoset files or -proto files, but not both."),
        (
            ("-use-reflection=false", *LIST),
            "No protoset files or proto files specified and -use-reflection set to false.",
        ),
        (("-user-agent", "ü", *LIST), "The -user-agent argument must be printable ASCII."),
        (("-authority", "a\nb", *LIST), "The -authority argument must be printable ASCII."),
        (("a:1", "describe", "\udcff"), "The address and what follows it must be UTF-8."),
        (("-completion", "tcsh"), "The -completion option must be one of bash, zsh, fish, words."),
        (("-unix", "list"), "The -unix argument needs the path of a socket as the address."),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(arguments: tuple[str, ...], told: str) -> None:
    """Each mistake has a sentence and the hint at -help, nothing is printed as output, and nothing is connected to."""
    outcome = pgcurl(*arguments)

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"{told}\nTry 'pgcurl -help' for more details.\n"


@pytest.mark.parametrize(
    ("arguments", "warnings"),
    [
        (LIST, ()),
        (
            ("-emit-defaults", "-format", "text", "a:1", "b/c"),
            ("The -emit-defaults is only used when using json format.",),
        ),
        (
            ("-keep-proto-names", "-format", "text", "a:1", "b/c"),
            ("The -keep-proto-names is only used when using json format.",),
        ),
        (("-d", "{}", *LIST), ("The -d argument is not used with 'list' or 'describe' verb.",)),
        (("-rpc-header", "a:1", *LIST), ("The -rpc-header argument is not used with 'list' or 'describe' verb.",)),
        (
            ("-protoset", "p", "-reflect-header", "a", "list"),
            ("The -reflect-header argument is not used when -protoset files are used.",),
        ),
        (("-import-path", "p", *LIST), ("The -import-path argument is not used unless -proto files are used.",)),
        (
            ("-servername", "a", "-authority", "a", *LIST),
            ("Both -servername and -authority are present; prefer only -authority.",),
        ),
        (("-d", "{}", "-batch", "f"), ("The -d argument is not used with -batch.",)),
        (("-vv", "-batch", "f"), ("The -v and -vv arguments are not used with -batch.",)),
    ],
)
def test_what_is_odd_is_warned_of(arguments: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    """Flags that do nothing where they stand are named, and the command goes on."""
    assert read_options(arguments).warnings == warnings


def test_warnings_stand_on_standard_error() -> None:
    """They begin with `Warning:` and come before what else goes wrong."""
    outcome = pgcurl("-plaintext", "-d", "{}", "-connect-timeout", "5", "127.0.0.1:1", "list")

    assert outcome.err.startswith("Warning: The -d argument is not used with 'list' or 'describe' verb.\n")
    assert outcome.code == 1


@pytest.mark.parametrize("flag", ["-help", "--help", "-h"])
def test_help_goes_to_standard_error_and_names_every_flag(flag: str) -> None:
    """As with grpcurl the exit code is 0; every flag, the exit codes and examples are there."""
    outcome = pgcurl(flag)

    assert (outcome.code, outcome.out) == (0, "")
    assert [name for name in FLAGS if not re.search(rf"^  -{name}( |$)", outcome.err, re.MULTILINE)] == []
    assert all(part in outcome.err for part in ("Usage:", "Exit codes:", "64+N", "Examples:", "PULLGATE_ADDRESS"))
    assert max(map(len, outcome.err.splitlines())) <= 120


def test_every_flag_is_an_option() -> None:
    """The table of flags and the options that it fills agree, so that no flag is read and then forgotten."""
    fields = set(Options.__dataclass_fields__) - {"verb", "address", "symbol", "warnings"}

    assert {flag.attribute for flag in FLAGS.values()} == fields


def test_the_version_goes_to_standard_error() -> None:
    """As with grpcurl: the name, the version, exit code 0."""
    outcome = finish(pgcurl_process("-version"))

    assert (outcome.code, outcome.out) == (0, "")
    assert re.fullmatch(r"pgcurl \d+\.\d+\.\d+\S*\n", outcome.err)


@pytest.mark.parametrize("arguments", [["-version"], ["-help"], ["-completion", "bash"], ["-nonsense"]])
def test_what_needs_no_server_does_not_import_grpc(arguments: list[str]) -> None:
    """Neither grpc nor protobuf is loaded, so that the answer is there at once."""
    program = (
        "import io, sys\nfrom pgcurl.main import run\n"
        f"run({arguments!r}, stdin=io.BytesIO(), stdout=io.StringIO(), stderr=io.StringIO(), environment={{}})\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'grpc', 'google', 'ssl', 'pullgate_client'}])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


def test_help_and_version_win_over_mistakes() -> None:
    """They are answered whatever else stands there, as far as it can be read."""
    assert pgcurl("-help", "-plaintext", "-alts").code == 0
    with pytest.raises(UsageError):
        read_options(("-plaintext", "-alts", *LIST))
