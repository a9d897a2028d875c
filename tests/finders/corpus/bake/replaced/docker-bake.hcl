target "app" {
  target = "run"
  contexts = {
    alpine    = "docker-image://registry.example.com/mirror/alpine:3.20" # FROM alpine, with or without :latest
    build     = "docker-image://acme/prebuilt:1" # a stage of that name is not built
    "node:22" = "target:node"
  }
  args = { BUILDKIT_SYNTAX = "docker/dockerfile-upstream:1.9" }
}
target "node" {
  dockerfile-inline = "FROM node:22-slim"
}
