#!/bin/sh
# The sources of the libraries that `sqz` needs, as of the last point release of Debian 12, with Debian's security
# patches. apt-get checks their signatures. Needs Debian or Ubuntu with dpkg-dev; no root.
#
#     sh fetch.sh FOLDER
set -eu
mkdir -p "$1/apt/lists/partial"
cd "$1"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" \
    > apt/sources.list
get() {
    apt-get -q -o "Dir::Etc::sourcelist=$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/nonexistent \
        -o "Dir::State::lists=$PWD/apt/lists" -o APT::Sandbox::User=root "$@"
}
get update
get source libjpeg-turbo libpng1.6 zlib
for name in libjpeg-turbo libpng zlib; do
    rm -rf "$name"
    mv "$name"*-[0-9]*.[0-9]*/ "$name"
done
