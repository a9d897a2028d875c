ARG TAG
ARG QUOTED
ARG FROM_ENV
ARG FROM_NOWHERE=trixie
ARG UNKNOWN=known
FROM acme/a:$TAG AS a
FROM acme/b:$QUOTED AS b
FROM acme/c:$FROM_ENV AS c
FROM acme/d:$FROM_NOWHERE AS d
FROM acme/e:$UNKNOWN AS e
FROM acme/unused AS unused
FROM scratch AS run
COPY --from=a / /
COPY --from=b / /
COPY --from=c / /
COPY --from=d / /
COPY --from=e / /
