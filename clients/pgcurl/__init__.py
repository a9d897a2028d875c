"""A client for any gRPC server in the manner of grpcurl: list, describe and call what it or its descriptors say."""
