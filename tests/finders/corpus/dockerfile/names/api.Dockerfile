FROM alpine:4
