FROM alpine:5
