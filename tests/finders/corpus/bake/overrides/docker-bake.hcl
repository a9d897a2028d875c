variable "DISTRO" { default = "trixie" }
target "api" {
  dockerfile-inline = "FROM rust:1.80"
  contexts = { runtime = "docker-image://gcr.io/distroless/cc:${DISTRO}" }
  cache-from = ["type=registry,ref=acme/api:cache2"]
}
target "web" {
  dockerfile = "web.Dockerfile"
  args = { NGINX = "1.26" }
}
