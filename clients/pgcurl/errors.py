"""What ends the command, and with which exit code (grpcurl's, cmd/grpcurl/grpcurl.go)."""

OK = 0
FAILURE = 1
"""Something went wrong that is no status of the call."""
USAGE = 2
STATUS_OFFSET = 64
"""Added to a gRPC status code, so that it is not taken for one of the above."""
INTERRUPTED = 130
"""128 + SIGINT, as shells say it."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: nobody reads the output any more."""


class UsageError(Exception):
    """The command line contradicts itself or lacks something. Its text is a sentence for the user."""


class FailureError(Exception):
    """The command cannot go on. Its text says what failed, and why."""


class RequestDataError(Exception):
    """The request data is not what the method takes. Its text says which message, and why."""
