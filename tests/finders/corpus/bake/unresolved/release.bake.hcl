variable "CI" { default = false }
variable "A" { default = "${B}" }
variable "B" { default = "${A}" }
function "image" {
  params = [name]
  result = "registry.example.com/${name}:1"
}
target "one" {
  contexts = {
    called    = "docker-image://${image("alpine")}"
    chosen    = CI ? "docker-image://alpine:3" : "./local, // {"
    added     = "docker-image://" + A
    cycle     = "docker-image://acme/${A}"
    directive = "docker-image://acme/x:%{ if CI }1%{ else }2%{ endif }"
    undefined = "docker-image://${NOT_DEFINED}"
    bracketed = ("docker-image://acme/bracketed:1")
    escaped   = "docker-image://acme/$${literal}"
    path      = "./${A}"
  }
  cache-from = [for name in ["a", "b"] : "type=registry,ref=acme/${name}"]
  dockerfile-inline = <<-EOT
    FROM acme/base:${image("x")} AS base
    FROM acme/static:1
    COPY --from=base /a /a
  EOT
}
target "remote" { context = "https://github.com/acme/app.git#main" }
target "missing" { dockerfile = "missing.Dockerfile" }
target "elsewhere" { context = BAKE_CMD_CONTEXT }
