#!/bin/sh
# The namespace, with its retention. Harmless to repeat; a retention that was changed here is changed there.
set -eu

if temporal operator namespace describe --namespace "$NAMESPACE" > /dev/null 2>&1; then
    temporal operator namespace update --namespace "$NAMESPACE" --retention "$RETENTION"
else
    temporal operator namespace create --namespace "$NAMESPACE" --retention "$RETENTION"
fi
