#!/bin/sh
# plot.sh - draw the pictures of a benchmark's results: plot.sh RESULTS.CSV DIRECTORY
#
# SPDX-License-Identifier: MIT
set -eu

csv=$1
directory=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# The peers, in the order of the file; those that are only for processes are in none of the pictures.
peers=$(awk -F, 'NR > 1 && $1 !~ /^shared-/ && !seen[$3]++ { print $3 }' "$csv")
count=$(echo "$peers" | wc -l)
case $peers in
*bare*) bare=1 ;;
*) bare=0 ;;
esac

# table FILE VALUE KEY LABEL...: a line for each row that was measured; in it
# the label, then for each peer the value wanted and the median.
#   share: the peer's speed as a share of a bare memcpy's;   median: as it is
table() {
        file=$1
        value=$2
        shift 2
        for pair in "$@"; do
                echo "$pair"
        done | awk -F, -v value="$value" -v peers="$peers" '
                NR == FNR { median[$1, $3] = $4; next }
                FNR == 1 { count = split(peers, peer, "\n") }
                {
                        split($0, part, "=")
                        if (!((part[1], peer[1]) in median))
                                next
                        printf part[2] ~ /^[0-9]+$/ ? "%s" : "\"%s\"", part[2]
                        for (i = 1; i <= count; i++) {
                                m = median[part[1], peer[i]]
                                if (m == "")
                                        printf " NaN NaN"
                                else if (value == "share")
                                        printf " %g %g", 100 * median[part[1], "bare"] / m, m
                                else
                                        printf " %g %g", m, m
                        }
                        print ""
                }' "$csv" - >"$work/$file"
}

table read share read-8='8 B' read-64='64 B' read-256='256 B' read-4K='4 KiB' read-64K='64 KiB' read-1M='1 MiB'
table update share update-8='8 B' update-64='64 B' update-256='256 B' update-4K='4 KiB' update-64K='64 KiB' \
        update-1M='1 MiB'
table threads median read-8-t2='read 8 B' read-64-t2='read 64 B' read-4K-t2='read 4 KiB' slice-t2=slices \
        mix-99-t2='99/1' mix-95-t2='95/5' mix-50-t2='50/50' pair='1 writes + 1 reads' update-64-t2='2 write'
table scaling median read-64-t1=1 read-64-t2=2 read-64-t4=4

# The library stands out; the limit stands back.
colours() {
        i=0
        for peer in $peers; do
                i=$((i + 1))
                case $i:$peer in
                1:*) colour='#0b5fa5' ;;
                *:bare) colour='#c8c8c8' ;;
                2:*) colour='#e08a1e' ;;
                3:*) colour='#58a65c' ;;
                4:*) colour='#a05195' ;;
                *) colour='#7f6a4d' ;;
                esac
                echo "set linetype $i lc rgb '$colour' lw 2 pt 7 ps 0.7"
        done
}

# bars FILE: a plot command; the bars of a cluster stand side by side
bars() {
        i=0
        step=$(awk "BEGIN { print 0.86 / $count }")
        printf '%s ' "plot '$work/$1' using 0:(NaN):xtic(1) notitle"
        separator=,
        for peer in $peers; do
                i=$((i + 1))
                x="(\$0 + ($i - ($count + 1) / 2.0) * $step)"
                printf '%s ' "$separator" "'$work/$1' using $x:$((2 * i)):(0.92 * $step)" \
                        "with boxes fs solid noborder lt $i title '$peer'," \
                        "'$work/$1' using $x:$((2 * i)):(number(\$$((2 * i + 1))))" \
                        "with labels left rotate by 90 offset 0,0.4 font 'sans,9' notitle"
                separator=,
        done
        echo
}

lines() {
        i=0
        separator=plot
        for peer in $peers; do
                i=$((i + 1))
                printf '%s ' "$separator" "'$work/$1' using 1:$((2 * i)) with linespoints lt $i title '$peer'"
                separator=,
        done
        echo
}

common() {
        cat <<END
set encoding utf8
set border 3 lc rgb '#606060'
set tics nomirror out scale 0.5
set grid ytics lc rgb '#e4e4e4' lt 1 lw 1
three(x) = x >= 99.5 ? sprintf('%.0f', x) : x >= 9.95 ? sprintf('%.1f', x) : sprintf('%.2f', x)
number(x) = x >= 9995 ? sprintf('%.1fk', x / 1000) : three(x)
END
        colours
}

if [ -s "$work/read" ] && [ -s "$work/update" ] && [ "$bare" = 1 ]; then
        gnuplot <<END
set terminal svg size 980,620 dynamic font 'sans,12' background 'white'
set output '$directory/copies.svg'
$(common)
set multiplot layout 2,1
set key horizontal outside top center samplen 1
set xrange [-0.5:$(wc -l <"$work/read") - 0.5]
set yrange [0:160]
set ytics 50 format '%.0f %%'
set ylabel "speed, bare memcpy = 100 %"
set title 'read: ns per operation over the bars' offset 0,-0.5
$(bars read)
set title 'update: ns per operation over the bars' offset 0,-0.5
unset key
$(bars update)
unset multiplot
END
        echo "wrote $directory/copies.svg"
fi

if [ -s "$work/threads" ]; then
        gnuplot <<END
set terminal svg size 980,400 dynamic font 'sans,12' background 'white'
set output '$directory/threads.svg'
$(common)
set key horizontal outside top center samplen 1
set xrange [-0.5:$(wc -l <"$work/threads") - 0.5]
set yrange [0:*]
set offsets 0, 0, graph 0.15, 0
set ylabel 'million operations a second'
set title 'Two threads' offset 0,-0.5
$(bars threads)
END
        echo "wrote $directory/threads.svg"
fi

if [ -s "$work/scaling" ]; then
        gnuplot <<END
set terminal svg size 560,380 dynamic font 'sans,12' background 'white'
set output '$directory/scaling.svg'
$(common)
set key left top samplen 2
set datafile separator whitespace
set logscale x 2
set xrange [0.9:4.5]
set yrange [0:*]
set xlabel 'threads reading 64 B'
set ylabel 'million operations a second'
set xtics (1, 2, 4)
$(lines scaling)
END
        echo "wrote $directory/scaling.svg"
fi
