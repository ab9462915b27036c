# The first stage builds and installs, so that the image holds neither pip nor a build tool.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY requirements-build.txt requirements.txt ./
RUN python -m pip install --require-hashes --only-binary=:all: -r requirements-build.txt
RUN python -m pip --python /venv/bin/python install \
      --require-hashes --only-binary=:all: -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY sql sql
# The worker is installed from a wheel, as on any other machine.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist .
RUN python -m pip --python /venv/bin/python install --no-index --no-deps /dist/*.whl

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="mux-worker" \
      org.opencontainers.image.description="A background worker that publishes Supabase lessons the moment their Mux video can be played" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
RUN groupadd --system --gid 10001 worker \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin worker
COPY --from=build /venv /venv
# Lines reach the log as they are written, and nothing is written to disk: with PORT, health is asked
# over HTTP. PORT= (empty) opens no port; then health needs a writable /tmp. Large blocks of memory are
# returned to the system: glibc would raise this limit after the first one and keep the gaps.
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    PORT=8080
EXPOSE 8080
# By number, so that a platform can tell that it is not root.
USER 10001:10001
# Finishes what is in flight and releases the rest within SHUTDOWN_SECONDS (20):
# use `docker stop --time 30`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["mux-worker", "health"]
CMD ["mux-worker", "run"]
