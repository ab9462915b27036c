# Wheels are unpacked in a first stage, so that the image holds neither pip's cache nor pip.
FROM python:3.11-slim AS wheels
WORKDIR /build
COPY requirements.txt .
RUN python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python install \
      --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --require-hashes --only-binary=:all: -r requirements.txt

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin worker
COPY --from=wheels /venv /venv
WORKDIR /app
COPY pyproject.toml .
COPY worker worker
# Compiled here, once: the worker's user may not write to /app.
RUN python -m compileall -q worker
# Lines reach the log as they are written, not when a buffer is full.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
USER worker
# Finishes what is in flight and hands the rest back, within SHUTDOWN_SECONDS (20):
# give it `docker stop --time 30`.
STOPSIGNAL SIGTERM
# With PORT it asks /healthz, without it reads the file that the worker keeps in /tmp.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-m", "worker", "health"]
CMD ["python", "-m", "worker", "run"]
