"""list, describe, and the call of a method."""

import re
from collections.abc import Sequence
from pathlib import Path

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from pgcurl.describing import describe, find_message, find_method
from pgcurl.errors import OK, FailureError, RequestDataError
from pgcurl.invoking import Call, invoke, load_extensions
from pgcurl.listing import list_methods, list_services
from pgcurl.options import Verb
from pgcurl.requests import RequestReader, open_data
from pgcurl.session import Session, failing, reason
from pgcurl.sources import DescriptorSourceError, ReflectionNotSupportedError, SymbolNotFoundError
from pgcurl.statuses import Status, status_of, status_text
from pgcurl.terminal import shown
from pgcurl.verbose import Report

_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)


def execute(session: Session) -> int:
    """Do what the options ask for, and give the exit code; raises FailureError."""
    from pgcurl.batch import run_batch

    session.warn(session.options.warnings)
    commands = {Verb.LIST: _list, Verb.DESCRIBE: _describe, Verb.INVOKE: _invoke, Verb.BATCH: run_batch}
    with session.timing.measured():
        code = commands[session.options.verb](session)
    if session.options.verbosity > 1 and session.options.verb is not Verb.BATCH:
        session.print("\n".join(session.timing.lines()))
    return code


def print_words(session: Session) -> int:
    """What can stand behind the flags for the default server: services and methods, for completion.

    Bash expands the words once more, so what is no name of a service must not get there: a server could run commands.
    """
    with failing("Failed to list services"):
        for service in filter(_NAME.fullmatch, session.source.services()):
            session.print(service)
            for method in list_methods(session.source, service).splitlines():
                if method.startswith(service):
                    session.print(f"{service}/{method.removeprefix(service).removeprefix('.')}")
    return OK


def resolve(session: Session, symbol: str) -> MethodDescriptor:
    """The method of that name, with all that its messages need; raises FailureError or grpc.RpcError."""
    if "/" not in symbol and "." not in symbol:
        raise FailureError(
            f'Error invoking method "{symbol}": given method name "{symbol}" is not in expected format: '
            "'service/method' or 'service.method'"
        )
    source = session.source
    try:
        method = find_method(source, symbol)
        for message in (method.input_type, method.output_type):
            load_extensions(source, message)
    except (SymbolNotFoundError, ReflectionNotSupportedError, DescriptorSourceError) as error:
        raise FailureError(f'Error invoking method "{symbol}": {reason(error)}') from error
    return method


def _list(session: Session) -> int:
    symbol = session.options.symbol
    if symbol is None:
        with failing("Failed to list services"):
            text = list_services(session.source)
        session.print(text)
        if session.options.protoset_out or session.options.proto_out_dir:
            _write(session, session.source.services())
    else:
        with failing(f'Failed to list methods for service "{symbol}"'):
            text = list_methods(session.source, symbol)
        session.print(text)
        _write(session, [symbol])
    return OK


def _describe(session: Session) -> int:
    symbol = session.options.symbol
    if symbol is None:
        with failing("Failed to list services"):
            symbols = session.source.services()
        with failing("Failed to describe services"):
            text = describe(session.source, None)
        session.print(text)
        _write(session, symbols)
        return OK
    symbol = symbol.removeprefix(".")
    with failing(f'Failed to resolve symbol "{symbol}"'):
        text = describe(session.source, symbol)
        if session.options.msg_template:
            text += _template(session, symbol)
    session.print(text)
    _write(session, [symbol])
    return OK


def _template(session: Session, symbol: str) -> str:
    descriptor = find_message(session.source, symbol)
    if descriptor is None:
        return ""
    from pgcurl.templates import message_template

    template = session.formatter(emit_defaults=True).message(message_template(descriptor))
    return f"\n\nMessage template:\n{template}"


def _write(session: Session, symbols: Sequence[str]) -> None:
    """What -protoset-out and -proto-out-dir ask for."""
    if path := session.options.protoset_out:
        with failing(f"Failed to write protoset to {path}"):
            from pgcurl.writing import write_protoset

            write_protoset(Path(path), session.source, symbols)
    if directory := session.options.proto_out_dir:
        with failing(f"Failed to write protos to {directory}"):
            from pgcurl.writing import write_proto_files

            write_proto_files(Path(directory), session.source, symbols)


def _invoke(session: Session) -> int:
    options, symbol = session.options, session.options.symbol or ""
    formatter = session.formatter(separate=not options.verbosity)
    report = Report(session.streams.stdout, formatter, verbosity=options.verbosity)
    metadata = session.metadata(options.rpc_headers)
    channel = session.channel
    with session.timing.part("InvokeRPC"):
        try:
            method = resolve(session, symbol)
        except grpc.RpcError as error:
            return _unresolved(session, symbol, status_of(error))
        if options.verbosity:
            report.method(describe(session.source, method.full_name).partition("\n")[2])
        report.sent(session.shown(metadata))
        requests = RequestReader(
            open_data(options.data, session.streams.stdin, session.stack),
            text=options.format == "text",
            new_message=GetMessageClass(method.input_type),
            resolver=session.resolver,
            allow_unknown_fields=options.allow_unknown_fields,
        )
        call = Call(method=method, metadata=metadata, seconds_left=session.deadline.seconds_left)
        try:
            status = invoke(channel, call, requests, report)
        except RequestDataError as error:
            raise FailureError(f'Error invoking method "{symbol}": {error}') from error
    _write(session, [method.containing_service.full_name])
    report.counts(requests.count)
    if not status.ok:
        _print_status(session, status)
    return status.exit_code


def _unresolved(session: Session, symbol: str, status: Status) -> int:
    """The server refused to say what the method is."""
    service = symbol.rpartition("/" if "/" in symbol else ".")[0]
    told = Status(
        code=status.code,
        message=f'failed to query for service descriptor "{service}": {status.message}',
        details=status.details,
    )
    if not session.options.format_error:
        raise FailureError(f'Error invoking method "{symbol}": {told}')
    _print_status(session, told)
    return told.exit_code


def _print_status(session: Session, status: Status) -> None:
    formatter = session.formatter()
    as_message = session.options.format_error
    text = formatter.message(status.as_message()) if as_message else status_text(status, formatter)
    session.streams.stderr.write(f"{shown(text)}\n")
