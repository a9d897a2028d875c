target "first" {
  dockerfile-inline = "FROM alpine:3.16
}
target "second" {
  context = "app"
  cache-from = ["acme/second:cache"]
}
target "third" { contexts = { x "docker-image://no/separator" } }
target "fourth" {
  cache-from = ["acme/fourth:cache"]
  dockerfile-inline = <<EOT
FROM alpine:3.17
