FROM rust:1.80 AS build
FROM scratch
COPY --from=build /a /a
