# A machine with NVIDIA GPUs and the container toolkit:
#   docker build -t detectors .
#   docker run --gpus all --shm-size 8g -v "$PWD/runs:/workspace/runs" -v /data:/data -e DETECTORS_DATA=/data \
#     detectors train experiment=fcos_coco
FROM nvidia/cuda:13.0.1-base-ubuntu24.04
COPY --from=ghcr.io/astral-sh/uv:0.9 /uv /bin/uv

ENV UV_LINK_MODE=copy UV_PYTHON_INSTALL_DIR=/opt/python PATH=/opt/detectors/.venv/bin:$PATH
WORKDIR /opt/detectors
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY detectors detectors
COPY conf conf
RUN uv venv --python 3.11 .venv && uv pip install --python .venv/bin/python -c constraints.txt .

WORKDIR /workspace
ENTRYPOINT ["detectors"]
CMD ["--help"]
