# The `ticketmaster` program. `docker compose up` builds it; see docs/containers.md.

# One Python for both stages: a virtual environment points at the interpreter that made it. Its patch releases come by a rebuild.
FROM python:3.11-slim-trixie AS base


FROM base AS build
ARG HATCHLING_VERSION=1.33.0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The packages come first: they change with the lock file only. Nothing at run time needs pip, which one of them asks for.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/ticketmaster \
 && pip --python /opt/ticketmaster/bin/python install --no-compile --no-deps --require-hashes -r requirements.lock \
 && pip --python /opt/ticketmaster/bin/python uninstall --yes pip

RUN pip install "hatchling==${HATCHLING_VERSION}"
COPY pyproject.toml README.md LICENSE ./
COPY avro avro
COPY ticketmaster ticketmaster
# The root file system is read-only later, so bytecode is made here; unchecked, because a copied file's time says nothing.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/ticketmaster/bin/python install --no-compile --no-deps --no-index /wheels/ticketmaster-*.whl \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/ticketmaster/lib


FROM base
LABEL org.opencontainers.image.title="ticketmaster" \
      org.opencontainers.image.description="Sells reserved seats by stream processing" \
      org.opencontainers.image.licenses="Apache-2.0"

# By number, so that Kubernetes can see that it isn't root. A new volume takes over the owner of the directory.
RUN groupadd --gid 10001 ticketmaster \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/ticketmaster --shell /usr/sbin/nologin ticketmaster \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/ticketmaster
COPY --from=build /opt/ticketmaster /opt/ticketmaster

ENV PATH=/opt/ticketmaster/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/tmp
USER 10001:10001
WORKDIR /var/lib/ticketmaster
# Of each container its own: state belongs to one instance, and is rebuilt from the log where it is missing.
VOLUME /var/lib/ticketmaster
EXPOSE 8080
STOPSIGNAL SIGTERM

# Roles answer it on 8080 when they are started with `ticket --port 8080`, or `reservation` and `event` with `--health-port 8080`.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=120s --start-interval=1s \
    CMD ["python", "-I", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/v1/health_check'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["ticketmaster"]
CMD ["--help"]
