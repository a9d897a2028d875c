"""Every option of `pullgate serve`: declared once here, and from here on the command line, in the environment, in the
configuration file, and in docs/configuration.md.
"""

import dataclasses
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pullgate.local import DEFAULT_ADDRESS, MAX_PORT, is_local
from pullgate_server.errors import StartupError

LEAST_REQUESTS_PER_MINUTE = 8
"""With fewer there would not be the two requests at once that most look-ups need."""

MAX_SECONDS = 10 * 365 * 86400

MAX_REQUEST_SECONDS = 10
"""The longest that a request to Docker Hub may take: three attempts have to fit into one look-up."""


class LogFormat(enum.Enum):
    """How a line of the log looks."""

    AUTO = "auto"
    """CONSOLE on a terminal, JSON elsewhere."""
    CONSOLE = "console"
    JSON = "json"


class CategorySourceName(enum.Enum):
    """Who can be asked for a category."""

    CATALOGUE = "catalogue"
    DOCKER_HUB = "docker-hub"
    STARTER = "starter"


def option(default: Any, description: str, *, unit: str = "") -> Any:
    """Declare an option: its default, what it does, and what its number counts."""
    return dataclasses.field(default=default, metadata={"description": description, "unit": unit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The options of one server. Raises StartupError for what contradicts itself."""

    listen: str = option(
        DEFAULT_ADDRESS,
        "Where to listen: HOST:PORT (port 0: a free one) or unix:PATH. Without TLS only loopback addresses and unix "
        "sockets are accepted, see --allow-plaintext.",
    )
    workers: int = option(
        1,
        "Processes that serve, all on the one port. With more than one, --docker-hub-requests-per-minute is divided "
        "among them, --max-open-calls, --max-subscribers and --category-entries hold for each, and each has its own "
        "port for metrics.",
    )
    data_dir: Path | None = option(
        None,
        "Directory for the database, the operator token and the catalogue. Default: pullgate in the user's data "
        "directory. Created if it is not there.",
    )
    database: str = option(
        "",
        "Database as a URL: sqlite:///PATH, or postgresql+asyncpg://USER:PASSWORD@HOST:PORT/NAME for several servers. "
        "Default: pullgate.db in the data directory.",
    )
    migrate: bool = option(True, "Bring an older database up to date at start; otherwise refuse to start on one.")
    catalogue: Path | None = option(
        None,
        "YAML file of image categories, read again whenever it changes. Default: catalogue.yaml in the data "
        "directory, which need not be there.",
    )
    category_sources: str = option(
        "catalogue,docker-hub,starter",
        "Who is asked for a category, in this order, the first that knows being believed: catalogue (the file), "
        "docker-hub (its API), starter (the small dated catalogue that is shipped with pullgate). What is left out is "
        "not asked.",
    )
    category_wait: float = option(
        0.25,
        "The longest that a decision waits for a category that is not known yet. After that it is UNKNOWN, and the "
        "look-up goes on for the next one.",
        unit="seconds",
    )
    known_category_ttl: float = option(
        86400.0,
        "How long what Docker Hub said of a category is used before it is looked up anew; up to a tenth less, so that "
        "not all are looked up together.",
        unit="seconds",
    )
    unknown_category_ttl: float = option(
        300.0, "How long a namespace that Docker Hub does not know stays unknown.", unit="seconds"
    )
    category_max_stale: float = option(
        7 * 86400.0,
        "How much longer a known category is used while Docker Hub cannot be asked. Answers say that it is stale.",
        unit="seconds",
    )
    cache: str = option(
        "memory",
        "What servers share of categories besides the database: memory (nothing), or a Redis as redis://, rediss:// or "
        "unix:// URL.",
    )
    category_entries: int = option(100_000, "Namespaces kept in this process's memory.")
    docker_hub_url: str = option("https://hub.docker.com", "Where Docker Hub's API is.")
    docker_hub_proxy: str = option(
        "", "Proxy to Docker Hub, as a URL. Default: what HTTPS_PROXY and NO_PROXY in the environment say."
    )
    docker_hub_username: str = option("", "Sign in to Docker Hub with this name; needs --docker-hub-token-file.")
    docker_hub_token_file: Path | None = option(
        None, "File with the access token or password of --docker-hub-username."
    )
    docker_hub_requests_per_minute: int = option(
        120,
        "The most requests to Docker Hub, which allows 180 a minute for each address. Servers that share an address "
        "share its limit: give each a part.",
    )
    docker_hub_timeout: float = option(
        5.0, "How long one request to Docker Hub may take, at most 10: a look-up has time for three.", unit="seconds"
    )
    cacheable_for: float = option(
        60.0, "The longest that a caller may use an answer again without asking.", unit="seconds"
    )
    tls_cert: Path | None = option(None, "Certificate chain (PEM) to serve TLS with; needs --tls-key.")
    tls_key: Path | None = option(None, "Private key (PEM) of the certificate.")
    tls_client_ca: Path | None = option(
        None,
        "Certificates (PEM) of the authorities whose client certificates are asked for; without one, no connection.",
    )
    tls_callers: Path | None = option(
        None,
        "YAML file that says which caller a client certificate is, for calls without a token; see docs/callers.md.",
    )
    jwt_issuers: Path | None = option(
        None, "YAML file of the issuers whose signed JWTs are accepted as tokens; see docs/callers.md."
    )
    token_key_file: Path | None = option(
        None,
        "File with the key that token secrets are hashed with, the same for all servers on one database. Default: "
        "token.key in the data directory, created on the first start.",
    )
    allow_plaintext: bool = option(
        False, "Serve without TLS on an address that other machines can reach. Tokens then cross the network readably."
    )
    max_open_calls: int = option(1000, "Calls that may be open at once; more are refused with RESOURCE_EXHAUSTED.")
    max_subscribers: int = option(
        10_000, "Subscribers to policies that may be connected at once; they are no open calls."
    )
    watch_bookmark: float = option(
        10.0,
        "How often a subscriber is told that nothing is missing. Who misses three takes what it knows for stale.",
        unit="seconds",
    )
    watch_max_age: float = option(
        600.0,
        "After about this time, a fifth less or more, a subscriber is asked to come back: perhaps to another server.",
        unit="seconds",
    )
    max_message_bytes: int = option(4 * 1024 * 1024, "The largest request that is read.", unit="bytes")
    max_batch: int = option(500, "The most references in one BatchDecide.")
    store_poll: float = option(
        1.0, "How often the database is asked whether it is there and has anything new.", unit="seconds"
    )
    store_hints: bool = option(
        True,
        "Look as soon as another server has written: PostgreSQL says so (LISTEN/NOTIFY), and an SQLite file changes. "
        "Otherwise what others write is seen within --store-poll.",
    )
    store_grace: float = option(
        30.0,
        "For how long the database may be out of reach before health says NOT_SERVING. Decisions go on with what was "
        "last known.",
        unit="seconds",
    )
    drain_delay: float = option(
        0.0,
        "How long to go on serving after SIGTERM with health NOT_SERVING, so that load balancers notice.",
        unit="seconds",
    )
    stop_grace: float = option(10.0, "How long calls that are open at stop may take to finish.", unit="seconds")
    metrics_listen: str = option(
        "",
        "Where to serve metrics for Prometheus over HTTP: HOST:PORT (port 0: a free one). With --workers the first on "
        "PORT, the second on PORT+1, and so on. Default: nowhere.",
    )
    log_format: LogFormat = option(LogFormat.AUTO, "How a line of the log looks.")

    def __post_init__(self) -> None:
        for name, most in (
            ("known_category_ttl", MAX_SECONDS),
            ("unknown_category_ttl", MAX_SECONDS),
            ("docker_hub_timeout", MAX_REQUEST_SECONDS),
            ("store_poll", MAX_SECONDS),
            ("store_grace", MAX_SECONDS),
            ("watch_bookmark", MAX_SECONDS),
            ("watch_max_age", MAX_SECONDS),
        ):
            if not 0 < getattr(self, name) <= most:
                raise StartupError(f"{_flag(name)} is {getattr(self, name)}; write seconds above 0, at most {most}")
        for name in ("category_wait", "category_max_stale", "cacheable_for", "drain_delay", "stop_grace"):
            if not 0 <= getattr(self, name) <= MAX_SECONDS:
                raise StartupError(f"{_flag(name)} is {getattr(self, name)}; write seconds from 0 to {MAX_SECONDS}")
        for name in (
            "workers", "max_open_calls", "max_subscribers", "max_message_bytes", "max_batch", "category_entries",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise StartupError(f"{_flag(name)} is {getattr(self, name)}; write 1 or more")
        least = LEAST_REQUESTS_PER_MINUTE * self.workers
        if CategorySourceName.DOCKER_HUB in self.sources and self.docker_hub_requests_per_minute < least:
            raise StartupError(
                f"--docker-hub-requests-per-minute is {self.docker_hub_requests_per_minute}; write {least} or more, or "
                "leave docker-hub out of --category-sources"
            )
        self._check_workers()
        self._check_tls()
        self._check_categories()
        if not self._is_local() and not self.tls_cert and not self.allow_plaintext:
            raise StartupError(
                f"--listen {self.listen} can be reached by other machines, and tokens would cross the network "
                "readably: give --tls-cert and --tls-key, or listen on 127.0.0.1, or say --allow-plaintext"
            )

    def _check_workers(self) -> None:
        metrics_port = self.metrics_listen.rpartition(":")[2]
        if metrics_port.isdecimal() and 0 < int(metrics_port) <= MAX_PORT < int(metrics_port) + self.workers - 1:
            raise StartupError(
                f"--metrics-listen {self.metrics_listen} leaves no ports for --workers {self.workers}: each has one of "
                f"its own, and {MAX_PORT} is the last"
            )
        if self.workers > 1 and self.listen.startswith("unix:"):
            raise StartupError(
                f"--workers {self.workers} cannot share --listen {self.listen}: a unix socket has one process; "
                "listen on HOST:PORT, or leave --workers out"
            )

    def _check_tls(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            missing, given = ("--tls-key", "--tls-cert") if self.tls_key is None else ("--tls-cert", "--tls-key")
            raise StartupError(f"{given} is given without {missing}; give both, or neither")
        if self.tls_client_ca and not self.tls_cert:
            raise StartupError("--tls-client-ca is given without --tls-cert: client certificates take TLS")
        if self.tls_callers and not self.tls_client_ca:
            raise StartupError("--tls-callers is given without --tls-client-ca: no client would show a certificate")

    def _check_categories(self) -> None:
        names = [source.value for source in self.sources]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise StartupError(f"--category-sources names {doubled[0]} twice")
        if bool(self.docker_hub_username) != bool(self.docker_hub_token_file):
            raise StartupError("--docker-hub-username and --docker-hub-token-file are given together, or neither is")
        self._check_docker_hub_url()
        if self.cache != "memory" and "://" not in self.cache:
            raise StartupError(f"--cache {self.cache} is neither memory nor a Redis URL such as redis://127.0.0.1:6379")
        if CategorySourceName.DOCKER_HUB not in self.sources:
            # Not shown, as a Redis URL may have a password in it.
            for flag, given in (
                ("--cache", self.cache != "memory"),
                ("--docker-hub-username", bool(self.docker_hub_username)),
            ):
                if given:
                    raise StartupError(
                        f"{flag} has no effect without docker-hub among --category-sources; name that, or leave "
                        f"{flag} out"
                    )

    def _check_docker_hub_url(self) -> None:
        try:
            url = urlsplit(self.docker_hub_url)
        except ValueError:
            # Nothing of it is shown, the error included: where a password would stand is not known.
            raise StartupError("--docker-hub-url is not a URL such as https://hub.docker.com") from None
        if url.username or url.password:
            raise StartupError("--docker-hub-url has a username in it; see --docker-hub-username")
        if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
            raise StartupError(
                f"--docker-hub-url {self.docker_hub_url} is not http:// or https://, a host and perhaps a path"
            )
        try:
            port = url.port
        except ValueError as error:
            raise StartupError(
                f"--docker-hub-url {self.docker_hub_url} has a port that is none; write a number up to 65535"
            ) from error
        if self.docker_hub_username and url.scheme == "http" and not is_local(f"{url.hostname}:{port or 80}"):
            raise StartupError(f"--docker-hub-url {self.docker_hub_url} would send the token readably; use https://")

    @property
    def sources(self) -> tuple[CategorySourceName, ...]:
        """The category sources in their order; raises StartupError."""
        names = [name.strip() for name in self.category_sources.split(",")] if self.category_sources.strip() else []
        try:
            return tuple(map(CategorySourceName, names))
        except ValueError as error:
            known = ", ".join(source.value for source in CategorySourceName)
            raise StartupError(f"--category-sources {self.category_sources}: write some of {known}") from error

    def _is_local(self) -> bool:
        try:
            return is_local(self.listen)
        except ValueError as error:
            raise StartupError(f"--listen {self.listen} {error}") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
