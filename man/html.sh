#!/bin/sh
# SPDX-License-Identifier: MIT
# html.sh PAGES OUT VERSION: the manual pages in the folder PAGES as HTML in the folder OUT, and an index of them.
# A name of several pages, of which one has the text, leads to that one.  What lies elsewhere is no link.
set -eu
pages=$1 out=$2 version=$3
LC_ALL=C
export LC_ALL
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/*.html
# Not cp: a copy of what cannot be written could not be made anew.
cat "$pages/style.css" >"$out/style.css"
cd "$pages"

nav='<nav><a href="index.html">All pages</a><a href="ammap-tutorial.7.html">Tutorial</a>'
nav=$nav'<a href="ammap.7.html">The model</a></nav>'

# The pages that are only a name of another one; each is a line of sed.
for page in *.3; do
        sed -n "1s|^\\.so man3/\\(.*\\)|s,href=\"$page\\.html,href=\"\\1.html,g|p" "$page"
done >"$out/names.sed"

for page in *.[1357]; do
        ! grep -q '^\.so ' "$page" || continue
        # A section of ammap(7) that another page names: .Sx knows of its own page alone.
        sed -n 's/^\.S[hs] \(.*\)/\1/p' "$page" | tr -d '"' | tr ' ' _ | sort >"$out/own"
        sed -n 's/^\.S[hs] \(.*\)/\1/p' ammap.7 | tr -d '"' | tr ' ' _ | sort | comm -23 - "$out/own" |
                sed 's|.*|s,class="Sx" href="#&",class="Sx" href="ammap.7.html#&",|' >"$out/sections.sed"
        sed "s/^\\.Os libammap\$/& $version/" "$page" |
                mandoc -Thtml -O 'man=%N.%S.html;elsewhere:%N.%S,style=style.css' |
                sed -e 's|<a class="Xr" href="elsewhere:[^"]*">\([^<]*\)</a>|\1|g' \
                        -e 's|<a class="In">\([^<]*\)</a>|\1|g' \
                        -e "s|^<body>\$|&$nav|" \
                        -f "$out/names.sed" -f "$out/sections.sed" >"$out/$page.html"
done

# What each page is about, a line: "PAGE WHAT".
for page in *.[1357]; do
        text=$page
        while read -r first target <"$text" && test "$first" = .so; do text=${target#man3/}; done
        echo "$page $text $(sed -n 's/^\.Nd //p' "$text")"
done >"$out/about"

{
        cat <<HEAD
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1.0"/>
<link rel="stylesheet" href="style.css"/>
<title>libammap $version</title>
</head>
<body>
<h1>libammap $version: the manual pages</h1>
HEAD
        # In the order of the list in ammap(7), under "The calls".  Names of one page are one entry.
        {
                echo .It Em Begin here
                printf '.Xr ammap-tutorial 7\n.Xr ammap 7\n.Xr ammap-migration 7\n.Xr ammap.hpp 3\n'
                sed -n '/^\.Ss The calls/,/^\.El/p' ammap.7
                echo .It Em Programs and formats
                printf '.Xr ammap-inspect 1\n.Xr ammap-format 5\n'
        } | awk -v about="$out/about" '
                BEGIN { while ((getline <about) > 0) { page = $1; text[page] = $2; $1 = $2 = ""; sub(/^ +/, ""); what[page] = $0 } }
                function entry() { if (names) print "<dt>" names "</dt><dd>" what[last] "</dd>"; names = "" }
                function group() { entry(); if (open) print "</dl>"; last = "" }
                /^\.It Em/ { group(); sub(/^\.It Em /, ""); print "<h2>" $0 "</h2>\n<dl class=\"pages\">"; open = 1 }
                /^\.Xr ammap/ {
                        page = $2 "." $3
                        if (text[page] != last || !names) { entry(); last = text[page] }
                        else names = names ", "
                        names = names "<a href=\"" text[page] ".html\">" $2 "</a>(" $3 ")" }
                END { group() }'
        echo '</body></html>'
} >"$out/index.html"
rm "$out/names.sed" "$out/sections.sed" "$out/own" "$out/about"
