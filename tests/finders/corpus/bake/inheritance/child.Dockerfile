FROM shared
ARG TOOL
COPY --from=alpine:3.17 / /
