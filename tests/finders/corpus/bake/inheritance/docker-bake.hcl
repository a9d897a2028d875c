target "_common" {
  args = {
    BASE = "debian:12"
    TOOL = "acme/tool:1"
  }
  contexts = { shared = "docker-image://acme/shared:1" }
}

target "_slim" {
  args = { BASE = "debian:12-slim" }
}

target "service" {
  name     = "service-${item.name}"
  inherits = ["_common", "_slim"]
  matrix = {
    item = [
      { name = "web", tool = "acme/web-tool:2" },
      { name = "worker", tool = "acme/worker-tool:3" },
    ]
  }
  dockerfile = "service.Dockerfile"
  args       = { TOOL = item.tool }
}

target "lib" {
  name   = "lib-${arch}-${replace(version, ".", "-")}"
  matrix = {
    arch    = ["amd64", "arm64"]
    version = ["20", "22"]
  }
  dockerfile-inline = "FROM ${arch}/node:${version}\nRUN node --version"
}

target "child" {
  inherits   = ["service-web"]
  contexts   = { shared = "target:service-worker" }
  dockerfile = "child.Dockerfile"
}

target "ping" { inherits = ["pong"] }
target "pong" { inherits = ["ping"] }
target "orphan" {
  inherits          = ["nobody"]
  dockerfile-inline = "FROM alpine:3.18"
}
