# One image for web, relay, worker and migrate; docker-compose.yml says which it is.
# It cannot be built where this is developed (no image can be pulled there).
FROM python:3.13-slim AS installed
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# pyproject.toml says what a running Holdfast needs, without the tools to develop it; the lock says which versions.
# uv takes no file whose hash is not the lock's.
RUN uv venv --no-cache /venv && \
    uv pip install --no-cache --python /venv/bin/python --only-binary :all: --verify-hashes --compile-bytecode \
        --requirements pyproject.toml --constraints requirements.lock

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin holdfast
COPY --from=installed /venv /venv
WORKDIR /holdfast
COPY models models
COPY workflows workflows
COPY activities activities
COPY web web
COPY workers workers
COPY emails emails
COPY migrations migrations
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["python", "-m", "workers", "--help"]
