#!/bin/sh
# SPDX-License-Identifier: MIT
# A CMake project finds the library with find_package(ammap), in the staged tree and in one that was
# moved to a path with a space, shared and static.
: "${srcdir:=.}"
. "$srcdir/tests/staged.sh"

needs cmake cmake
stage

mkdir "$work/project"
cp "$srcdir/tests/client.c" "$work/project/"
cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.13)
project(client C)
find_package(ammap ${want} CONFIG REQUIRED COMPONENTS ${kind})
get_target_property(place ammap::${kind} IMPORTED_LOCATION)
message(STATUS "ammap ${ammap_VERSION} at ${place}")
add_executable(client client.c)
target_link_libraries(client PRIVATE ammap::ammap)
END

# configure_client ROOT KIND VERSION
configure_client()
{
        rm -rf "$work/build"
        CC=$CC CFLAGS=$CFLAGS LDFLAGS=$LDFLAGS cmake -G 'Unix Makefiles' -S "$work/project" -B "$work/build" \
                -DCMAKE_PREFIX_PATH="$1" -Dammap_DIR="$1/$under/cmake/ammap" -Dkind="$2" -Dwant="$3" \
                >"$work/log" 2>&1
}

clients=0
for root in "$work/stage$prefix" "$moved"; do
        for kind in shared static; do
                case $kind in
                shared) test -e "$root/$under/libammap.so" || continue ;;
                static) test -e "$root/$under/libammap.a" || continue ;;
                esac
                configure_client "$root" $kind "$VERSION" && cmake --build "$work/build" >>"$work/log" 2>&1 ||
                        { cat "$work/log" >&2; exit 1; }
                grep -q "ammap $VERSION at $root/$under/" "$work/log" ||
                        { cat "$work/log" >&2; echo "another library was found" >&2; exit 1; }
                "$work/build/client" >/dev/null
                is_linked $kind "$work/build/client"
                clients=$((clients + 1))
        done
done
test "$clients" -gt 0 || { echo "no client was tried" >&2; exit 1; }
kind=static
test -e "$moved/$under/libammap.a" || kind=shared
for version in 99.0 "${VERSION%.*}.99"; do
        ! configure_client "$moved" $kind "$version" || { echo "$VERSION passes for $version" >&2; exit 1; }
done
mv "$moved/$under/libammap.a" "$work/libammap.a" 2>/dev/null || :
! configure_client "$moved" static "$VERSION" || { echo "a missing component has not been noticed" >&2; exit 1; }
echo "$clients clients found it with cmake, and ran"
