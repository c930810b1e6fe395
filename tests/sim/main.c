/* main.c - runs of the simulation
 *
 * SPDX-License-Identifier: MIT
 *
 *      sim [--seed N] [--time SECONDS | --runs N] [--replay SEED [--trace]]
 *      sim --exhaustive PREEMPTIONS [--runs N] [--scene NAME] [--trace]
 *      sim --lies [--seed N] [--time SECONDS | --runs N] [--replay SEED [--trace]]
 *
 * Without --time and --runs it is some thousands of runs; of a search, of each scene in each of four
 * ways, and what is not searched whole says so.  The first that fails is told, and ends it with
 * status 1.
 */
#include "model.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of a processor: how busy the machine is does not count. */
static double seconds(void)
{
        struct timespec now;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A fault of the library's, with the seed. */
static void on_signal(int number)
{
        signal(number, SIG_DFL);
        fail("signal %d", number);
}

static void begin_signals(void)
{
        static unsigned char stack[65536];
        const stack_t alternative = { .ss_sp = stack, .ss_size = sizeof stack };
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

        sigaltstack(&alternative, NULL);
        sigaction(SIGSEGV, &action, NULL);
        sigaction(SIGBUS, &action, NULL);
        sigaction(SIGABRT, &action, NULL);
        sigaction(SIGFPE, &action, NULL);
        sigaction(SIGILL, &action, NULL);
}

static void begin_run(void)
{
        memory_reset();
        files_reset();
        os_reset();
        model_begin();
}

/* What the maps hold in the end; and that nobody is in. */
static void look_at_the_end(void)
{
        unsigned process = 0;

        while (process_is_gone(process))
                process++;
        enter_process(process);
        for (unsigned m = 0; m < maps; m++) {
                struct range range = { m, 0, model_map[m].length };
                uint64_t value[WORDS_MAX], since = model_tick();
                ammap_t *map = model_map[m].handle[process];
                int rc = model_map[m].unsure ? -1 : ammap_read_into(map, 0, value, (size_t)range.count * 8);

                if (rc == 0)
                        read_check(range, value, since);
                fair_end(map, range);
                if ((rc = ammap_free(map)) == 0 && model_map[m].other[process])
                        rc = ammap_free(model_map[m].other[process]);
                if (rc != 0 && !(rc == AMMAP_ERR_BUSY && any_view(process, m, UINT64_MAX - 1))) /* of who was forked */
                        fail("in the end nobody is there, and ammap_free answers %d", rc);
        }
}

/* One in four is of a scene, in turn, as the seed has it. */
static uint64_t run_seed(uint64_t seed)
{
        enum { SCENES = 4, SLACK = 50000 };
        bool of_scene = seed % SCENES == 0;

        begin_run();
        honest_forget();
        draw_plan(seed);
        plan.slack = seed / SCENES % 2 ? SLACK : 0;
        if (of_scene) {
                scenario = (unsigned)(seed / SCENES % scenarios);
                scene_players();
                scene_begin();
        } else {
                draw_scene();
        }
        scheduler_run(&plan, of_scene ? scene_thread : draw_thread);
        model_end();
        look_at_the_end();
        return steps;
}

static uint64_t run_lies(uint64_t seed)
{
        begin_run();
        lies_run(seed);
        return steps;
}

/* All runs of a scene with so many preemptions at most, up to a number of runs in each way. */
static uint64_t search(unsigned preemptions, uint64_t most)
{
        uint64_t runs = 0;
        bool whole = true;

        for (unsigned way = 0; way < 4; way++) {
                uint64_t left = most;
                bool more;

                search_begin();
                do {
                        begin_run();
                        draw_plan(0);
                        scene_plan(preemptions);
                        plan.drain = way & 1;
                        plan.asymmetric = way & 2;
                        scene_begin();
                        scheduler_run(&plan, scene_thread);
                        model_end();
                        look_at_the_end();
                        more = search_next();
                        runs++;
                } while (--left > 0 && more);
                whole = whole && !more;
        }
        printf("sim: %-20s %8" PRIu64 " runs%s\n", scene_name(), runs, whole ? "" : ", and there are more");
        return runs;
}

int main(int argc, char **argv)
{
        uint64_t seed = 1, runs = 0, wanted = 20000, all_steps = 0;
        uint64_t (*run)(uint64_t seed) = run_seed;
        unsigned preemptions = 0;
        const char *only = NULL;
        double limit = 0, used;

        for (int i = 1; i < argc; i++) {
                const char *value = i + 1 < argc ? argv[i + 1] : "";

                if (strcmp(argv[i], "--trace") == 0) {
                        tracing = true;
                        continue;
                }
                if (strcmp(argv[i], "--lies") == 0) {
                        run = run_lies;
                        continue;
                }
                i++;
                if (strcmp(argv[i - 1], "--seed") == 0)
                        seed = strtoull(value, NULL, 10);
                else if (strcmp(argv[i - 1], "--runs") == 0)
                        wanted = strtoull(value, NULL, 10);
                else if (strcmp(argv[i - 1], "--time") == 0)
                        limit = strtod(value, NULL);
                else if (strcmp(argv[i - 1], "--exhaustive") == 0)
                        preemptions = (unsigned)strtoul(value, NULL, 10);
                else if (strcmp(argv[i - 1], "--scene") == 0)
                        only = value;
                else if (strcmp(argv[i - 1], "--replay") == 0)
                        seed = strtoull(value, NULL, 10), wanted = 1;
                else
                        return fprintf(stderr,
                                       "usage: sim [--seed N] [--time S | --runs N] [--replay SEED [--trace]]\n"
                                       "       sim --exhaustive PREEMPTIONS [--runs N] [--scene NAME] [--trace]\n"
                                       "       sim --lies [as the first]\n"),
                               2;
        }
        begin_signals();
        memory_begin();
        if (preemptions > 0) {
                for (scenario = 0; scenario < scenarios; scenario++)
                        if (!only || strcmp(only, scene_name()) == 0)
                                runs += search(preemptions, wanted);
                used = seconds();
                printf("sim: %" PRIu64 " runs; %.0f a second of a processor\n", runs,
                       (double)runs / (used > 0 ? used : 1));
                return 0;
        }
        while (limit > 0 ? runs % 64 != 0 || seconds() < limit : runs < wanted) {
                all_steps += run(seed++);
                runs++;
        }
        used = seconds();
        printf("sim: %" PRIu64 " runs, %" PRIu64 " steps; %.0f runs a second of a processor\n", runs, all_steps,
               (double)runs / (used > 0 ? used : 1));
        return 0;
}
