# local.mk - make fuzz
#
# SPDX-License-Identifier: MIT
#
# make check replays fuzz/corpus with any compiler.  The rest wants clang, or afl++:
#
#       make fuzz TIME=600                      each target so many seconds, then what they reach of lib/
#       make fuzz TIME=60 FUZZ_TARGETS='calls file'
#       make fuzz-afl TIME=600                  the same with afl-fuzz
#       make fuzz-coverage                      what all inputs reach: lines and branches, file by file
#       make fuzz-corpus                        the least inputs that reach the same, into fuzz/corpus
#
# What is found lies in fuzz/out: TARGET/ has inputs, found/ what ended a target.  One is run again
# by fuzz/replay-TARGET FILE, or fuzz/out/TARGET.fuzz FILE with the sanitizers.

FUZZ_TARGETS = calls import file hostile
FUZZ_CC = clang

fuzz_headers = fuzz/forged.h fuzz/input.h fuzz/model.h fuzz/session.h fuzz/sharing.h fuzz/slices.h fuzz/step.h \
	fuzz/words.h fuzz/worker.h
EXTRA_DIST += fuzz/local.mk fuzz/fuzz.sh fuzz/replay.sh fuzz/seeds.sh fuzz/header.dict fuzz/calls.c fuzz/import.c \
	fuzz/file.c fuzz/hostile.c fuzz/replay.c $(fuzz_headers) fuzz/corpus

fuzz_run = srcdir='$(srcdir)' FUZZ_CC='$(FUZZ_CC)' FUZZ_TARGETS='$(FUZZ_TARGETS)' TIME='$(TIME)' \
	CPPFLAGS='$(CPPFLAGS)' $(SHELL) $(srcdir)/fuzz/fuzz.sh

fuzz:
	$(fuzz_run) fuzz
fuzz-afl:
	$(fuzz_run) afl
fuzz-coverage:
	$(fuzz_run) coverage
fuzz-corpus:
	$(fuzz_run) corpus

# These model what Linux has, as hostile processes do.
if OS_LINUX
check_PROGRAMS += fuzz/replay-calls fuzz/replay-import fuzz/replay-file fuzz/replay-hostile
TESTS += fuzz/replay.sh
endif
fuzz_cppflags = $(user_cppflags) -I$(srcdir)/fuzz
fuzz_replay_calls_SOURCES = fuzz/calls.c fuzz/replay.c $(fuzz_headers)
fuzz_replay_calls_CPPFLAGS = $(fuzz_cppflags)
fuzz_replay_calls_LDADD = libammap.la $(LIBATOMIC)
fuzz_replay_import_SOURCES = fuzz/import.c fuzz/replay.c
fuzz_replay_import_CPPFLAGS = $(fuzz_cppflags)
fuzz_replay_import_LDADD = libammap.la $(LIBATOMIC)
fuzz_replay_file_SOURCES = fuzz/file.c fuzz/replay.c
fuzz_replay_file_CPPFLAGS = $(fuzz_cppflags)
fuzz_replay_file_LDADD = libammap.la $(LIBATOMIC)
# The library that tells of its functions is part of this one.
fuzz_replay_hostile_SOURCES = fuzz/hostile.c fuzz/replay.c $(libammap_core_la_SOURCES)
fuzz_replay_hostile_CPPFLAGS = $(lib_cppflags)
fuzz_replay_hostile_CFLAGS = $(AM_CFLAGS) -finstrument-functions
fuzz_replay_hostile_LDADD = $(LIBATOMIC)

clean-local: fuzz-clean
fuzz-clean:
	rm -rf fuzz/out

.PHONY: fuzz fuzz-afl fuzz-coverage fuzz-corpus fuzz-clean
