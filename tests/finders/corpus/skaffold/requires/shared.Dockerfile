ARG BASE
FROM golang:1.22 AS build
FROM ${BASE}
COPY --from=build /a /a
COPY --from=gcr.io/acme/lib /lib /lib
