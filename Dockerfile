# One image for every role; compose.yaml says which of them a container plays.
FROM node:24-bookworm-slim
WORKDIR /opt/postern
COPY package.json package-lock.json ./
# The packaged Node is the one of the base image: the npm package `node` is not needed here.
RUN npm install --omit=dev --no-audit --no-fund && npm cache clean --force
COPY bin bin
COPY src src
COPY config config
RUN groupadd --system postern && useradd --system --gid postern --home-dir /var/lib/postern postern \
 && install -d -o postern -g postern -m 0700 /var/lib/postern
USER postern
VOLUME /var/lib/postern
ENTRYPOINT ["node", "/opt/postern/bin/postern.js"]
CMD ["serve", "--config", "/var/lib/postern/postern.toml"]
