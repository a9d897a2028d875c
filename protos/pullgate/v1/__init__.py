"""pullgate.v1: the contract as .proto files, and the stubs that `make protos` generates from them."""
