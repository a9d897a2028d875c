# target "x" {}
