# pullgate in a container: docker build -t pullgate .
#   docker run --read-only -v pullgate:/data -p 50051:50051 \
#     -v ./tls:/tls:ro -e PULLGATE_TLS_CERT=/tls/cert.pem -e PULLGATE_TLS_KEY=/tls/key.pem pullgate
# docs/container.md says more. Any base with Python 3.11+ and its venv module will do.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Options for pip, such as --no-index --find-links=/source/build/wheels where no package index can be reached.
ARG PIP_OPTIONS=""
WORKDIR /source
COPY . .
RUN python3 -m venv /build \
 && /build/bin/pip wheel ${PIP_OPTIONS} --no-deps --wheel-dir /wheels . \
 && python3 -m venv /opt/pullgate \
 && /opt/pullgate/bin/pip install ${PIP_OPTIONS} --no-cache-dir "pullgate[server] @ file://$(ls /wheels/*.whl)" \
 && /opt/pullgate/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
LABEL org.opencontainers.image.title="pullgate" \
      org.opencontainers.image.description="Image Access Management as a service of your own" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pullgate /opt/pullgate
# The one place that is written to; a volume, because the root file system may be read-only.
RUN mkdir -m 0700 /data && chown 65532:65532 /data
VOLUME /data
ENV PATH=/opt/pullgate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PULLGATE_DATA_DIR=/data \
    PULLGATE_LISTEN=0.0.0.0:50051
USER 65532:65532
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["pullgate", "healthcheck"]
ENTRYPOINT ["pullgate"]
CMD ["serve"]
