ARG BASE
ARG EXTRA=acme/extra:0
FROM ${EXTRA} AS extra
FROM ${BASE}
COPY --from=extra / /
