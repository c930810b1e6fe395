#!/bin/sh
# SPDX-License-Identifier: MIT
# make html makes a page for each page, an index that has them all, and no link that leads nowhere.
set -eu
: "${srcdir:=.}"
: "${top_srcdir:=$srcdir}" "${VERSION:=0}"
LC_ALL=C
export LC_ALL
top_srcdir=$(cd "$top_srcdir" && pwd)
command -v mandoc >/dev/null || { echo "skipped: there is no mandoc here to make the pages"; exit 77; }
work=$(mktemp -d "$PWD/html.XXXXXX")
trap 'rm -rf "$work"' EXIT

sh "$top_srcdir/man/html.sh" "$top_srcdir/man" "$work/html" "$VERSION"
cd "$work/html"

# FILE or FILE#ID, all that there is; and what is linked, with the page that has the link.
for file in *; do
        echo "$file"
        grep -o ' id="[^"]*"' "$file" | sed "s|.*id=\"\\(.*\\)\"|$file#\\1|" || :
done | sort -u >"$work/there"
for file in *.html; do
        grep -oE '(href|src)="[^"]*"' "$file" |
                sed "s|^[a-z]*=\"||; s|\"\$||; s|^#|$file#|; s|\$| $file|" | grep -v '^https\?:' || :
done | sort -u >"$work/links"
test -s "$work/links" || { echo "there are no links" >&2; exit 1; }
join -v 1 "$work/links" "$work/there" >"$work/broken"
sed 's/\(.*\) \(.*\)/\2: a link to \1, which is not there/' "$work/broken" >&2
test ! -s "$work/broken"

# Each page of its own, and each name in the index.
names=0
for page in "$top_srcdir"/man/*.[1357]; do
        name=$(basename "$page")
        names=$((names + 1))
        grep -q '^\.so ' "$page" || test -s "$name.html" || { echo "there is no $name.html" >&2; exit 1; }
        grep -q ">${name%.*}</a>(${name##*.})" index.html || { echo "index.html does not have $name" >&2; exit 1; }
done
grep -q "libammap $VERSION" ammap.7.html || { echo "the pages do not say which release they are of" >&2; exit 1; }
echo "$names names, $(wc -l <"$work/links" | tr -d ' ') links"
