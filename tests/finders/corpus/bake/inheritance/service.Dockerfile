ARG BASE
ARG TOOL
FROM ${TOOL} AS tool
FROM ${BASE}
COPY --from=tool / /
