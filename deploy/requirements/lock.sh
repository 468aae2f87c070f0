#!/bin/sh
# Resolves the requirement files anew, with hashes for every supported platform.
set -eu
cd "$(dirname "$0")/../.."
compile() {
    output=$1
    shift
    uv pip compile --quiet --generate-hashes --universal --python-version "${for_python:-3.11}" \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
        --upgrade -o "deploy/requirements/$output" "$@"
}
compile dev.txt pyproject.toml deploy/requirements/demo.in deploy/requirements/dev.in \
    deploy/requirements/models.in
compile demo.txt pyproject.toml deploy/requirements/demo.in -c deploy/requirements/dev.txt
compile run.txt pyproject.toml -c deploy/requirements/dev.txt
compile audit.txt deploy/requirements/audit.in
compile docs.txt deploy/requirements/docs.in
compile models.txt deploy/requirements/models.in -c deploy/requirements/dev.txt
for_python=3.13 compile home-assistant.txt deploy/requirements/home-assistant.in
