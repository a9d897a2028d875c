ARG GO_VERSION=1.19
ARG BASE=alpine
ARG PYTHON=3.12
FROM golang:${GO_VERSION} AS build
FROM python:${PYTHON} AS scripts
FROM ${BASE} AS run
COPY --from=build /app /app
COPY --from=scripts /s /s
