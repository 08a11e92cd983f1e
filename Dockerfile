# CPU and GPU alike: the wheels of torch on the package index carry CUDA.
#
#   docker build -t cxr .          (podman build --format docker -t cxr . : without it the health check is left out)
#   docker run --rm --hostname cxr --stop-timeout 30 -p 127.0.0.1:8501:8501 \
#     -v cxr-data:/data -v cxr-runs:/runs -v cxr-weights:/weights cxr
#
# With a GPU, add `--gpus all` (needs the NVIDIA container toolkit on the host), with several also `--shm-size 2g`. A
# recipe with `compile: true` is refused: no compiler is inside.
# Behind a proxy that serves it under a path, add `-e STREAMLIT_SERVER_BASE_URL_PATH=cxr`; the health check follows.
FROM python:3.11-slim

# The wheels carry every library that they use, so nothing comes from Debian's packages.
RUN useradd --create-home --uid 1000 researcher \
    && mkdir -p /app /data /runs /weights \
    && chown researcher:researcher /app /data /runs /weights

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps -r requirements.txt
COPY --chown=researcher:researcher pyproject.toml setup.py README.md LICENSE ./
COPY --chown=researcher:researcher cxr cxr
COPY --chown=researcher:researcher dashboard dashboard
COPY --chown=researcher:researcher weights weights
COPY container.sh /usr/local/bin/cxr-container
COPY --chown=researcher:researcher docs/glossary.md docs/glossary.md
# With the locked setuptools of requirements.txt: nothing is fetched here.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .

USER researcher
ENV CXR_DATA=/data CXR_RUNS=/runs CXR_WEIGHTS=/weights PYTHONUNBUFFERED=1
VOLUME ["/data", "/runs", "/weights"]
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s \
    CMD python -c "import os, urllib.request as u; base = os.environ.get('STREAMLIT_SERVER_BASE_URL_PATH', '').strip('/'); u.urlopen('/'.join(filter(None, ('http://127.0.0.1:8501', base, '_stcore/health'))), timeout=4)"
# As the container's first process, without `--init`: it has every run save before the container stops.
CMD ["cxr-container"]
