"""gRPC server reflection, as v1 and as v1alpha.

grpcio-reflection has only v1alpha, and grpcurl, buf curl and Postman ask for v1 first. The two are the same on the
wire, so one servicer answers both; v1's descriptors are made from v1alpha's by renaming the package, for clients that
ask to have v1 itself described.
"""

from collections.abc import AsyncIterator, Iterable

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from pullgate_policy.caller import Caller
from pullgate_server.rpc.gate import Context

_V1ALPHA = "grpc.reflection.v1alpha"
_V1 = "grpc.reflection.v1"


class ReflectionService:
    """Handlers for a `Gate`."""

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = aio.ReflectionServicer(services)

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: AsyncIterator[Message], _caller: Caller, context: Context
    ) -> AsyncIterator[Message]:
        """Answers about files, symbols and services."""
        same_on_the_wire = (
            reflection_pb2.ServerReflectionRequest.FromString(request.SerializeToString()) async for request in requests
        )
        async for response in self._servicer.ServerReflectionInfo(same_on_the_wire, context):
            yield response


def reflection_services() -> tuple[ServiceDescriptor, ServiceDescriptor]:
    """The descriptors of both versions; v1's is made here the first time."""
    pool = descriptor_pool.Default()
    try:
        v1 = pool.FindServiceByName(f"{_V1}.ServerReflection")
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        pool.Add(_renamed(file))
        v1 = pool.FindServiceByName(f"{_V1}.ServerReflection")
    return v1, reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def _renamed(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """v1alpha's file as v1's."""
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = _V1
    for message in file.message_type:
        for field in (field for field in message.field if field.type_name):
            field.type_name = field.type_name.replace(f".{_V1ALPHA}.", f".{_V1}.")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{_V1ALPHA}.", f".{_V1}.")
            method.output_type = method.output_type.replace(f".{_V1ALPHA}.", f".{_V1}.")
    return file
