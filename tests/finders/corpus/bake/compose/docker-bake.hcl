target "web" {
  args = { EXTRA = "acme/extra:1" }
}
target "api-release" {
  inherits   = ["api_v2"]
  cache-from = ["acme/api:cache"]
  contexts   = { web = "target:web" }
}
