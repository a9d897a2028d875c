# for the development of the web part
target "web" {
  args = { NGINX = "1.27-alpine" }
}
target "api" {
  contexts = { runtime = "docker-image://ubuntu:24.04" }
}
