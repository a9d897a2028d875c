"""What `list` prints."""

from google.protobuf.descriptor_pb2 import ServiceDescriptorProto

from pgcurl.sources import DescriptorSource, SymbolNotFoundError
from pgcurl.symbols import declaration_of


def list_services(source: DescriptorSource) -> str:
    """The full names of all services, one a line, sorted."""
    return "\n".join(source.services()) or "(No services)"


def list_methods(source: DescriptorSource, service: str) -> str:
    """The full names of a service's methods, one a line, sorted. Raises SymbolNotFoundError."""
    declaration = declaration_of(source.file_of(service), service)
    if declaration is None or not isinstance(declaration.element, ServiceDescriptorProto):
        raise SymbolNotFoundError(f"{service} is not a service")
    return "\n".join(sorted(f"{service}.{method.name}" for method in declaration.element.method)) or "(No methods)"
