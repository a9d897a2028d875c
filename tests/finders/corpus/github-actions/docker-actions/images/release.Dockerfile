FROM golang:1.22 AS build
FROM gcr.io/distroless/static AS final
COPY --from=build /go/bin/app /app
