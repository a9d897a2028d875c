"""The server refuses to start on what cannot work, in a sentence that says what to change."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pullgate_server.configuration import Configuration
from pullgate_server.errors import StartupError
from tests.conftest import clean_environment, run_pullgate

REFUSED = [
    ({"listen": "0.0.0.0:50051"}, "give --tls-cert and --tls-key, or listen on 127.0.0.1, or say --allow-plaintext"),
    ({"listen": "[::]:50051"}, "tokens would cross the network readably"),
    ({"listen": "example.com:1"}, "tokens would cross the network readably"),
    ({"listen": "127.0.0.1.evil.example:1"}, "tokens would cross the network readably"),
    ({"listen": "127.0.0.1"}, "--listen 127.0.0.1 is not HOST:PORT or unix:PATH"),
    ({"listen": "127.0.0.1:http"}, "is not HOST:PORT"),
    ({"listen": "127.0.0.1:99999"}, "is not HOST:PORT"),
    ({"listen": ":50051"}, "is not HOST:PORT"),
    ({"tls_cert": Path("c")}, "--tls-cert is given without --tls-key"),
    ({"tls_key": Path("k")}, "--tls-key is given without --tls-cert"),
    ({"known_category_ttl": float("inf")}, "--known-category-ttl is inf"),
    ({"store_poll": float("nan")}, "--store-poll is nan"),
    ({"cacheable_for": 1e13}, "--cacheable-for is 10000000000000.0"),
    ({"max_batch": 0}, "--max-batch is 0; write 1 or more"),
    ({"workers": 2, "listen": "unix:x"}, "a unix socket has one process"),
    ({"workers": 3, "metrics_listen": "127.0.0.1:65534"}, "leaves no ports for --workers 3"),
    ({"store_poll": 0.0}, "--store-poll is 0.0; write seconds above 0"),
    ({"drain_delay": -1.0}, "--drain-delay is -1.0; write seconds from 0 to"),
    ({"docker_hub_timeout": 10.1}, "--docker-hub-timeout is 10.1; write seconds above 0, at most 10"),
    ({"docker_hub_timeout": 0.0}, "--docker-hub-timeout is 0.0; write seconds above 0, at most 10"),
    (
        {"category_sources": "catalogue,starter", "cache": "redis://x"},
        "--cache has no effect without docker-hub among --category-sources",
    ),
    (
        {"category_sources": "", "docker_hub_username": "x", "docker_hub_token_file": Path("t")},
        "--docker-hub-username has no effect without docker-hub among --category-sources",
    ),
]


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_refused(options: dict[str, Any], told: str) -> None:
    """What contradicts itself or is unsafe is refused."""
    with pytest.raises(StartupError, match=re.escape(told)):
        Configuration(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"listen": "127.0.0.1:0"},
        {"listen": "127.9.9.9:1"},
        {"listen": "localhost:1"},
        {"listen": "[::1]:1"},
        {"listen": "unix:/run/pullgate.sock"},
        {"listen": "0.0.0.0:1", "allow_plaintext": True},
        {"listen": "0.0.0.0:1", "tls_cert": Path("c"), "tls_key": Path("k")},
    ],
)
def test_accepted(options: dict[str, Any]) -> None:
    """Plaintext is for loopback and unix sockets, and elsewhere for who asks for it."""
    assert Configuration(**options).listen == options["listen"]


@pytest.mark.parametrize(
    "options",
    [
        {"docker_hub_timeout": 10.0},
        {"docker_hub_url": "https://hub.example:65535/mirror"},
        {"category_sources": "docker-hub", "cache": "redis://x"},
        {"category_sources": "catalogue", "cache": "memory"},
    ],
)
def test_accepted_of_docker_hub(options: dict[str, Any]) -> None:
    """What a look-up has time for, a port that is one, and a Redis that is used are taken as they are."""
    configuration = Configuration(**options)

    assert {name: getattr(configuration, name) for name in options} == options


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--listen", "0.0.0.0:1"], "say --allow-plaintext"),
        (["--database", "mysql://user:hunter2@db/x"], "--database mysql://user:***@db/x is not supported"),
        (["--database", "nonsense"], "--database is not a URL"),
        (["--database", "sqlite:////no/such/directory/x.db"], "cannot be used (No such file or directory)"),
        (["--catalogue", "/no/such/file"], "the catalogue /no/such/file is not there; see --catalogue"),
        (["--tls-cert", "/no/cert", "--tls-key", "/no/key"], "--tls-key /no/key cannot be read"),
        (["--data-dir", "/proc/1/nothing"], "the data directory /proc/1/nothing cannot be used"),
        (["--no-migrate"], "start once with --migrate"),
        (["--config", "/no/such/file"], "/no/such/file cannot be read"),
        (["--max-batch", "many"], "'many' is not a valid integer"),
        (["--lisen", "x"], "No such option"),
        (["--docker-hub-url", "ftp://x"], "--docker-hub-url ftp://x is not http:// or https://"),
        (["--docker-hub-url", "https://user:hunter2@x"], "has a username in it; see --docker-hub-username"),
        (["--docker-hub-url", "https://x:99999"], "--docker-hub-url https://x:99999 has a port that is none"),
        (["--docker-hub-url", "https://x:http"], "--docker-hub-url https://x:http has a port that is none"),
        (["--docker-hub-url", "https://user:hunter2@[x"], "--docker-hub-url is not a URL such as"),
        (["--docker-hub-proxy", "nonsense://user:hunter2@x"], "see --docker-hub-url, --docker-hub-proxy"),
        (["--cache", "redis://:hunter2@x:port"], "--cache is not a Redis URL"),
        (["--docker-hub-proxy", "foo"], "see --docker-hub-url, --docker-hub-proxy"),
        (["--docker-hub-proxy", "socks5://127.0.0.1:1"], "see --docker-hub-url, --docker-hub-proxy"),
        (["--docker-hub-username", "x"], "are given together, or neither is"),
        (["--docker-hub-username", "x", "--docker-hub-token-file", "/no/file"], "see --docker-hub-token-file"),
        (
            [
                "--docker-hub-username",
                "x",
                "--docker-hub-token-file",
                "/no/file",
                "--docker-hub-url",
                "http://x.example",
            ],
            "would send the token readably",
        ),
        (["--category-sources", "hub"], "--category-sources hub: write some of catalogue, docker-hub, starter"),
        (["--category-sources", "starter,starter"], "--category-sources names starter twice"),
        (["--cache", "disk"], "--cache disk is neither memory nor a Redis URL"),
        (["--cache", "redis://x:port"], "--cache is not a Redis URL that can be used"),
        (
            ["--cache", "redis://:hunter2@x", "--category-sources", "starter"],
            "--cache has no effect without docker-hub among --category-sources",
        ),
        (["--category-wait", "-1"], "--category-wait is -1.0; write seconds from 0"),
        (["--docker-hub-requests-per-minute", "7"], "write 8 or more, or leave docker-hub out"),
        (["--category-entries", "0"], "--category-entries is 0; write 1 or more"),
        (["--metrics-listen", "nonsense"], "--metrics-listen nonsense cannot be used"),
    ],
)
def test_refused_on_the_command_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    """A bad configuration ends with exit code 2, one readable message, no traceback and no password."""
    result = run_pullgate("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path), *arguments)
    message = " ".join(result.stderr.split())

    assert result.returncode == 2
    assert told in message
    assert "Traceback" not in message
    assert "hunter2" not in message + result.stdout


def test_authorities_that_cannot_be_read_end_the_start(tmp_path: Path) -> None:
    """SSL_CERT_FILE is named, whether the file is missing or holds no certificate."""
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        result = run_pullgate(
            "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"),
            environment={**clean_environment(), "SSL_CERT_FILE": str(tmp_path / name)},
        )  # fmt: skip

        assert result.returncode == 2
        assert "cannot start: Docker Hub cannot be asked in this way" in result.stderr
        assert "SSL_CERT_FILE in the environment" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_bad_certificate_is_never_plaintext(tmp_path: Path) -> None:
    """Files that are no certificate end the start."""
    (tmp_path / "c").write_text("no certificate")
    (tmp_path / "k").write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
    (tmp_path / "c2").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for certificate in ("c", "c2"):
        result = run_pullgate(
            "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"),
            "--tls-cert", str(tmp_path / certificate), "--tls-key", str(tmp_path / "k"),
        )  # fmt: skip

        assert result.returncode == 2
        assert "cannot start" in result.stderr


def test_a_catalogue_that_cannot_be_read_ends_the_start(tmp_path: Path) -> None:
    """The problems of the operator's catalogue are told with their paths."""
    (tmp_path / "catalogue.yaml").write_text("entries: [{namespace: a, category: COMUNITY, source: x}]")
    result = run_pullgate("serve", "--data-dir", str(tmp_path))

    assert result.returncode == 2
    assert 'entries[0].category: the text "COMUNITY" is not a choice; did you mean COMMUNITY?' in result.stderr
    assert "entries[0].retrieved_at: is missing" in result.stderr


def test_file_environment_and_command_line(tmp_path: Path) -> None:
    """The command line goes before the environment, and the environment before the file."""
    config = tmp_path / "pullgate.yaml"
    config.write_text("max_batch: 1\nmax_open_calls: 2\nstore_poll: 3.0\nlog_format: json\n")
    script = (
        "import sys; from pullgate_server import command\n"
        "command.run = lambda configuration, *_: print(configuration)\n"
        "command.asyncio.Runner = type('R', (), {'__init__': lambda *a, **k: None, '__enter__': lambda s: s, "
        "'__exit__': lambda *a: None, 'run': lambda *a: None})\n"
        "command.serve()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "--config", str(config), "--store-poll", "9"],
        capture_output=True,
        text=True,
        check=True,
        env={**clean_environment(), "PULLGATE_MAX_OPEN_CALLS": "8", "PULLGATE_STORE_POLL": "8"},
    )

    assert "max_batch=1," in result.stdout
    assert "max_open_calls=8," in result.stdout
    assert "store_poll=9.0," in result.stdout
    assert "LogFormat.JSON" in result.stdout


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    """A mistyped option in the file is not ignored."""
    config = tmp_path / "pullgate.yaml"
    config.write_text("max_bach: 1\n")
    result = run_pullgate("serve", "--config", str(config), "--data-dir", str(tmp_path))

    assert result.returncode == 2
    assert "max_bach is not an option; did you mean max_batch?" in " ".join(result.stderr.split())
