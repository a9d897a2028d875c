# Сборка: image = "commented/out:1"
// variable "ALPINE" { default = "no" }
/* target "gone" {
     dockerfile-inline = "FROM gone"
   } */
variable "ALPINE" {
  default = "3.20" # the tag
}
variable "REGISTRY" { default = "docker.io" }
variable "MIRROR" {
  description = "where images are mirrored: } \" {"
  default     = "${REGISTRY}/acme"
}
variable "PYTHON" {
  default = null
}
cache = "${MIRROR}/cache"

group "default" {
  targets = ["app", "docs", "tool"]
}

target "app" {
  context    = "app"
  dockerfile = "release.Dockerfile"
  target     = "run"
  args = {
    GO_VERSION = 1.20
    PYTHON     = PYTHON
    "BASE"     = "gcr.io/distroless/static:nonroot"
    DEBUG : true,
  }
  contexts = {
    certs  = "docker-image://alpine:${ALPINE}"
    src    = "../src"
    docs   = "target:docs"
    mirror = "docker-image://${MIRROR}/tools@sha256:00000000000000000000000000000000000000000000000000000000000000ff"
  }
  cache-from = [
    "type=registry,ref=${cache}:app",   // a comma behind the last
    "type=registry,\"ref=quay.io/acme/app:buildcache\"",
    "type=gha,scope=app",
    "acme/plain-cache",
    { type = "registry", ref = "acme/map-cache:1" },
  ]
  attest = ["type=provenance,mode=max", "type=sbom,generator=acme/scanner:2"]
  output = ["type=registry,name=acme/app"]
  tags   = ["acme/app:1", "docker.io/acme/app:${ALPINE}"]
}

target "docs" {
  dockerfile-inline = <<EOT
# syntax=docker/dockerfile:1.7
FROM squidfunk/mkdocs-material:9 AS build
RUN echo $${HOME} "FROM not/this"
FROM nginx:${ALPINE}-alpine
COPY --from=build /site /usr/share/nginx/html
EOT
}

target "tool" {
  dockerfile-inline = <<-EOT
    FROM busybox:1.36
    RUN cat <<SCRIPT
    FROM evil/heredoc
    SCRIPT
  EOT
  attest = [
    "type=sbom",
  ]
}
