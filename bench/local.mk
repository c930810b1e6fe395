# local.mk - make bench
#
# SPDX-License-Identifier: MIT
#
# Nothing of this is built by a plain make.  What is built lies in bench/out;
# bench/results.csv and the pictures lie in bench.
#
#       make bench                              about seven minutes
#       make bench BENCHFLAGS=--quick           half a minute
#       make bench BENCHFLAGS=--torture         only: is each of them a lock?
#       make bench BENCHFLAGS='--only slice'
#       make bench BENCHFLAGS='--only shared'   only: between processes
#       make bench BENCHFLAGS='--only only'     only: what the others have not
#       make bench-sweep                        two minutes: copies of each power of two of bytes, and of
#                                               one byte less and more; where they are slow, and
#                                               bench/out/sweep.csv
#       make bench-scale                        a minute: which cache lines each operation touches,
#                                               and what that comes to with more processors
#
#       make bench-check        did a row of bench/ratios.txt get worse?  It fails, and names
#                               it; ten seconds, and longer where one seems so
#       make bench-record       write the ratios anew
#       make bench-try          does it build, and run?
#
# These three take the peers that need nothing but a C compiler, and boost and mmap-io
# where make bench has built them.  BENCH_RATIOS=FILE: other ratios than the recorded.

BENCHFLAGS =
BENCH_RATIOS = $(srcdir)/bench/ratios.txt

# What the peers mmap-io and boost are built with; where one is missing, make
# bench does without that peer and says so.
CARGO = cargo
CARGO_REGISTRY = /usr/share/cargo/registry

bench_cppflags = $(user_cppflags) $(CPPFLAGS) -D_GNU_SOURCE

bench_headers = \
	bench/clock.h bench/job.h bench/peer.h bench/report.h bench/sweep.h bench/team.h bench/torture.h \
	bench/worker.h bench/workload.h
bench_sources = \
	bench/bench.c bench/job.c bench/life.c bench/message.c bench/only.c bench/peer.c bench/report.c bench/sweep.c \
	bench/tail.c bench/team.c bench/torture.c bench/waiters.c bench/worker.c bench/workload.c
bench_peers = \
	bench/bare.c bench/boost.cc bench/mutex.c bench/pthread.c bench/shared.h bench/mmap-io/Cargo.toml \
	bench/mmap-io/src/lib.rs

EXTRA_DIST += bench/local.mk $(bench_headers) $(bench_sources) $(bench_peers) bench/check.sh bench/plot.sh \
	bench/ratios.txt bench/targets.txt bench/lines.c bench/rivals.c bench/rivals.h bench/scale.c bench/simulate.c \
	bench/simulate.h

bench/out/bench: $(bench_sources) $(bench_headers) include/ammap.h
	$(AM_V_at)$(MKDIR_P) bench/out
	$(AM_V_CCLD)files=; for file in $(bench_sources); do files="$$files $(srcdir)/$$file"; done; \
		$(CC) $(bench_cppflags) $(AM_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $$files -ldl -lm

bench/out/bare.so: bench/bare.c bench/shared.h include/ammap.h
	$(AM_V_at)$(MKDIR_P) bench/out
	$(AM_V_CCLD)$(CC) $(bench_cppflags) $(AM_CFLAGS) $(CFLAGS) $(LDFLAGS) -shared -fPIC -o $@ $(srcdir)/bench/bare.c

bench/out/pthread.so: bench/pthread.c include/ammap.h
	$(AM_V_at)$(MKDIR_P) bench/out
	$(AM_V_CCLD)$(CC) $(bench_cppflags) $(AM_CFLAGS) $(CFLAGS) $(LDFLAGS) -shared -fPIC -o $@ \
		$(srcdir)/bench/pthread.c

bench/out/mutex.so: bench/mutex.c bench/shared.h include/ammap.h
	$(AM_V_at)$(MKDIR_P) bench/out
	$(AM_V_CCLD)$(CC) $(bench_cppflags) $(AM_CFLAGS) $(CFLAGS) $(LDFLAGS) -shared -fPIC -o $@ $(srcdir)/bench/mutex.c

bench/out/boost.so: bench/boost.cc bench/shared.h include/ammap.h
	$(AM_V_at)$(MKDIR_P) bench/out
	@if header='<boost/interprocess/anonymous_shared_memory.hpp>'; test -n '$(CXX)' && \
		echo "#include $$header" | $(CXX) $(CPPFLAGS) -E -x c++ - >/dev/null 2>&1; then \
		echo '  CXXLD    $@'; \
		$(CXX) $(bench_cppflags) -O2 -shared -fPIC -o $@ $(srcdir)/bench/boost.cc -pthread; \
	else \
		echo "bench: without Boost.Interprocess: no C++ compiler, or no Boost (Debian: libboost-dev)"; \
	fi

# Cargo wants to write next to Cargo.toml, hence the copy.
bench/out/mmap-io.so: bench/mmap-io/Cargo.toml bench/mmap-io/src/lib.rs
	$(AM_V_at)$(MKDIR_P) bench/out/crate/src
	@cp $(srcdir)/bench/mmap-io/Cargo.toml bench/out/crate && cp $(srcdir)/bench/mmap-io/src/lib.rs bench/out/crate/src
	@if ! command -v $(CARGO) >/dev/null 2>&1; then \
		echo "bench: without mmap-io: no $(CARGO)"; \
	elif ! ls -d $(CARGO_REGISTRY)/memmap2-* $(CARGO_REGISTRY)/parking_lot-* >/dev/null 2>&1; then \
		echo "bench: without mmap-io: no memmap2 and parking_lot in $(CARGO_REGISTRY)" \
			"(Debian: librust-memmap2-dev, librust-parking-lot-dev)"; \
	else \
		echo '  CARGO    $@'; \
		$(CARGO) build --quiet --offline --release --manifest-path bench/out/crate/Cargo.toml \
			--target-dir bench/out/crate/target \
			--config 'source.crates-io.replace-with="system"' \
			--config 'source.system.directory="$(CARGO_REGISTRY)"' && \
		cp bench/out/crate/target/release/libmmap_io.so $@; \
	fi

bench_plain = bench/out/bench bench/out/bare.so bench/out/mutex.so bench/out/pthread.so
bench_built = $(bench_plain) bench/out/boost.so bench/out/mmap-io.so

# Sets $libraries: what is measured, the library first.
bench_libraries = \
	library=$$(sed -n "s/^dlname='\(.*\)'/\1/p" libammap.la); \
	if test -z "$$library"; then \
		echo "make bench measures the shared library: configure without --disable-shared" >&2; exit 1; \
	fi; \
	libraries="libammap=.libs/$$library"; \
	for peer in mmap-io pthread mutex boost bare; do \
		if test -f bench/out/$$peer.so; then libraries="$$libraries $$peer=bench/out/$$peer.so"; fi; \
	done

bench: $(lib_LTLIBRARIES) $(bench_built)
	@$(bench_libraries); \
	bench/out/bench --targets $(srcdir)/bench/targets.txt --csv bench/results.csv $(BENCHFLAGS) $$libraries
	@if ! test -f bench/results.csv; then \
		:; \
	elif command -v gnuplot >/dev/null 2>&1; then \
		$(SHELL) $(srcdir)/bench/plot.sh bench/results.csv bench; \
	else \
		echo "bench: without pictures: no gnuplot"; \
	fi

# Lengths.  The library is its own peer, by another name, so that it is loaded twice.
bench-sweep: $(lib_LTLIBRARIES) $(bench_built)
	@$(bench_libraries); \
	cp -f ".libs/$$library" bench/out/again.so; \
	measured=; \
	for peer in $$libraries again=bench/out/again.so; do \
		case $$peer in libammap=* | mmap-io=* | bare=* | again=*) measured="$$measured $$peer" ;; esac; \
	done; \
	bench/out/bench --sweep --csv bench/out/sweep.csv $(BENCHFLAGS) $$measured

# What the library's own traffic is, by the sources that are compiled for that (tests/lines.sh), and
# what would come of it.
bench_scale = bench/scale.c bench/simulate.c bench/rivals.c bench/peer.c bench/team.c bench/worker.c

bench/out/scale: $(bench_scale) $(bench_headers) bench/rivals.h bench/simulate.h include/ammap.h
	$(AM_V_at)$(MKDIR_P) bench/out
	$(AM_V_CCLD)files=; for file in $(bench_scale); do files="$$files $(srcdir)/$$file"; done; \
		$(CC) $(bench_cppflags) $(AM_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $$files -ldl

SCALE_THREADS = 1 2 8 64 256

bench-scale: $(lib_LTLIBRARIES) bench/out/scale
	@$(AM_TESTS_ENVIRONMENT) $(SHELL) $(srcdir)/tests/lines.sh build bench/out/lines
	@bench/out/lines
	@library=$$(sed -n "s/^dlname='\(.*\)'/\1/p" libammap.la); \
	bench/out/lines --traces $(SCALE_THREADS) >bench/out/traces && \
		bench/out/scale libammap=.libs/$$library <bench/out/traces

bench-check bench-record: $(lib_LTLIBRARIES) $(bench_plain)
	@$(bench_libraries); what=$@; \
	$(SHELL) $(srcdir)/bench/check.sh $${what#bench-} $(BENCH_RATIOS) bench/out bench/out/bench $$libraries

bench-try: $(lib_LTLIBRARIES) $(bench_plain)
	@$(bench_libraries); bench/out/bench --quick --rounds 2 --processes 1 --only read-8 $$libraries

# A build inside the source folder has the published results in the same place:
# those are not its own to remove.
clean-local: bench-clean
bench-clean:
	rm -rf bench/out
	test -f bench/local.mk || rm -f bench/results.csv bench/copies.svg bench/scaling.svg bench/threads.svg

.PHONY: bench bench-check bench-clean bench-record bench-scale bench-sweep bench-try
