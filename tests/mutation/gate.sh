#!/usr/bin/env bash
# The gate; stops at the first promise that breaks, or at what is no promise any more.
set -e
python -m pytest invariants/ -x -q -p no:cacheprovider
