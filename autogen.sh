#!/bin/sh
# SPDX-License-Identifier: MIT
# Make ./configure.  Needed in a git clone only; a release carries it.
set -eu
cd "$(dirname "$0")"

for tool in autoreconf automake libtoolize; do
        command -v "$tool" >/dev/null || {
                echo "autogen.sh: $tool is missing; install autoconf, automake, libtool, autoconf-archive, pkg-config" >&2
                exit 1
        }
done

mkdir -p m4
exec autoreconf --install --force --warnings=all,no-obsolete "$@"
