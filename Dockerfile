# The bot in a container. compose.yaml starts it together with PostgreSQL.
#
# On a CPU:  docker build -t darkroom .
# On a GPU:  docker build -t darkroom --build-arg TORCH_INDEX= .
#            docker run --gpus all --env-file .env -v darkroom:/data darkroom
#
# The pip steps, the paths and the settings are tested. The image itself has not been built by the tests, as they have no container engine.
FROM python:3.12-slim

# PyTorch's index of CPU builds. Empty: pip's own index, whose build for Linux includes CUDA and is gigabytes larger.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Optional parts of pyproject.toml, such as postgres,gpu.
ARG EXTRAS=postgres,dashboard

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
WORKDIR /opt/darkroom

# Torch changes rarely and is large: a layer of its own, which changes of the code do not rebuild.
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0

COPY pyproject.toml README.md LICENSE LICENSE-THIRD-PARTY bot.py ./
COPY cogs cogs
COPY diffusion diffusion
RUN pip install ".[$EXTRAS]"

RUN useradd --create-home --uid 1000 darkroom && install -d -o darkroom -g darkroom /data
USER darkroom
WORKDIR /data
VOLUME /data
ENV DATA_DIR=/data HF_HOME=/data/huggingface XDG_CACHE_HOME=/data/cache

# No shell in between: the bot itself receives SIGTERM and finishes what it can.
ENTRYPOINT ["darkroom"]
