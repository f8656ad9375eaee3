# The image of every role of a fleet: `drover worker`, `drover serve` and what else the command has.
#
#   docker build -t drover .
#   docker build -t drover --build-arg NPM_REGISTRY=https://npm.example.com/ .    # packages from a mirror
#
# It needs no BuildKit. Nothing in it has to be writable but /tmp, /var/lib/drover and the destinations.
ARG BASE=node:24-bookworm-slim

# What decides which packages are installed, and nothing else: other changes leave the layer of npm ci as it is.
FROM ${BASE} AS manifests
WORKDIR /src
COPY packages packages
RUN find packages -type f ! -name package.json -delete && find packages -type d -empty -delete
COPY package.json package-lock.json .npmrc ./

FROM ${BASE} AS build
ARG NPM_REGISTRY=
WORKDIR /src
COPY --from=manifests /src ./
# No package needs its install script.
RUN npm ci --ignore-scripts ${NPM_REGISTRY:+--registry="$NPM_REGISTRY"}
COPY . .
RUN scripts/build.sh \
  && mkdir /package \
  && mv packages/cli/bundle /package/dist \
  && cp drover LICENSE /package/ \
  && node scripts/package/terminal.mjs /package \
  && node scripts/package/manifest.mjs /package

FROM ${BASE}
# npm and yarn are for building; the user `node` (1000) comes with the base.
RUN rm -rf /usr/local/lib/node_modules /usr/local/include /opt/yarn* \
    /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn /usr/local/bin/yarnpkg \
  && install -d -o node -g node /var/lib/drover /data /app/data \
  && ln -s /opt/drover/drover /usr/local/bin/drover
COPY --from=build /package /opt/drover
ENV NODE_ENV=production DROVER_STATE_DIR=/var/lib/drover
USER 1000:1000
WORKDIR /var/lib/drover
STOPSIGNAL SIGTERM
ENTRYPOINT ["drover"]
CMD ["--help"]
