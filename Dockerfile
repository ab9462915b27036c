# The first stage installs everything, so that the image holds neither pip nor its cache.
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY requirements.txt .
RUN python -m pip --python /venv/bin/python install \
      --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --require-hashes --only-binary=:all: -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY sql sql
RUN python -m pip --python /venv/bin/python install \
      --no-cache-dir --disable-pip-version-check --root-user-action=ignore --no-deps .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin worker
COPY --from=build /venv /venv
# Lines reach the log as they are written, not when a buffer is full.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
USER worker
# Finishes what is in flight and releases the rest within SHUTDOWN_SECONDS (20):
# use `docker stop --time 30`.
STOPSIGNAL SIGTERM
# With PORT it requests /healthz, without it reads the liveness file in /tmp.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["mux-worker", "health"]
CMD ["mux-worker", "run"]
