# The `ticketmaster` program. `docker compose up` builds it; see docs/containers.md.

# One Python for all stages: a virtual environment points at the interpreter that made it. A newer patch release is a change of this line.
FROM python:3.11.14-slim-trixie AS base


FROM base AS build
ARG HATCHLING_VERSION=1.33.0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends binutils

# The packages come first: they change with the lock file only. Nothing at run time needs pip, which one of them asks for.
# A third of them is symbols for debuggers, C sources, and what colours source code in tracebacks, which nothing here prints.
# The root file system is read-only later, so bytecode is made here; unchecked, because a copied file's time says nothing.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/ticketmaster \
 && pip --python /opt/ticketmaster/bin/python install --no-compile --no-deps --require-hashes -r requirements.lock \
 && pip --python /opt/ticketmaster/bin/python uninstall --yes pip \
 && find /opt/ticketmaster -name '*.so*' -type f -exec strip --strip-unneeded {} + \
 && find /opt/ticketmaster/lib '(' -name '*.c' -o -name '*.h' -o -name '*.py[ix]' -o -name '*.px[di]' ')' -type f -delete \
 && rm -rf /opt/ticketmaster/lib/python3.11/site-packages/pygments \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/ticketmaster/lib

RUN pip install "hatchling==${HATCHLING_VERSION}"
COPY pyproject.toml README.md LICENSE ./
COPY avro avro
COPY ticketmaster ticketmaster
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/ticketmaster/bin/python install --no-compile --no-deps --no-index /wheels/ticketmaster-*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/ticketmaster/lib/python3.11/site-packages/ticketmaster


FROM base AS system
# By number, so that Kubernetes can see that it isn't root. A new volume takes over the directory's mode: whoever the container runs as may write there.
# No program may make anybody root.
RUN groupadd --gid 10001 ticketmaster \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/ticketmaster --shell /usr/sbin/nologin ticketmaster \
 && install -d -m 1777 /var/lib/ticketmaster \
 && pip uninstall --yes --quiet pip setuptools wheel \
 && cd /usr/local/lib/python3.11 && rm -rf ensurepip idlelib lib2to3 pydoc_data tkinter turtledemo \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +


# What was removed above leaves the image only because all of it is copied again.
FROM scratch
LABEL org.opencontainers.image.title="ticketmaster" \
      org.opencontainers.image.description="Sells reserved seats by stream processing" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=system / /
COPY --from=build /opt/ticketmaster /opt/ticketmaster

ENV PATH=/opt/ticketmaster/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/tmp
USER 10001:10001
WORKDIR /var/lib/ticketmaster
# Of each container its own: state belongs to one instance, and is rebuilt from the log where it is missing.
VOLUME /var/lib/ticketmaster
EXPOSE 8080 9464
STOPSIGNAL SIGTERM

# Every role answers it there when it is started with `--metrics-port 9464`.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=120s \
    CMD ["python", "-I", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 9464, timeout=4); c.request('GET', '/v1/health_check'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["ticketmaster"]
CMD ["--help"]
