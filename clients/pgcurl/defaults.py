"""The default server: that of PULLGATE_ADDRESS, or of this machine, with its token.

The token goes to no other address, and only as the environment says: where the command line weakens the connection, it
stays here.
"""

from collections.abc import Mapping

from pgcurl.errors import FailureError
from pgcurl.options import Options
from pgcurl.target import Security, Server, Target, is_proxied, typed_target
from pullgate_client.connection import Connection
from pullgate_client.errors import ConnectionSettingsError

WITHHELD = (
    "The token of the default server is not sent, because {flag} weakens the connection that the environment asks for; "
    "-H 'authorization: Bearer …' sends one all the same."
)


def default_server(options: Options, environment: Mapping[str, str]) -> Server:
    """The server that the environment names; flags of the command line win over it. Raises FailureError."""
    connection = Connection.from_environment(environment)
    try:
        authorization = connection.authorization()
    except ConnectionSettingsError as error:
        raise FailureError(f"Failed to read the token of the default server: {error}") from error
    target = _target(options, connection, environment)
    flag = _weakened(options, connection)
    if flag and authorization:
        return Server(target=target, warnings=(WITHHELD.format(flag=flag),))
    return Server(target=target, authorization=authorization)


def _target(options: Options, connection: Connection, environment: Mapping[str, str]) -> Target:
    if options.plaintext or options.insecure or options.alts or options.cacert or options.cert:
        return typed_target(options, connection.address, environment=environment)
    if (connection.cert is None) != (connection.key is None):
        raise FailureError("PULLGATE_CERT and PULLGATE_KEY belong together: the one is set, the other is not")
    return Target(
        address=connection.address,
        security=Security.TLS if connection.speaks_tls else Security.PLAINTEXT,
        server_name=options.server_name,
        cacert=connection.ca,
        cert=connection.cert,
        key=connection.key,
        key_log=environment.get("SSLKEYLOGFILE", ""),
        proxied=is_proxied(environment),
    )


def _weakened(options: Options, connection: Connection) -> str:
    if options.insecure:
        return "-insecure"
    return "-plaintext" if options.plaintext and connection.speaks_tls else ""
