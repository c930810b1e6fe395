/* table.c - what is known of maps, for people
 *
 * SPDX-License-Identifier: MIT
 */
#include "picture.h"
#include "text.h"

#include <inttypes.h>
#include <string.h>

enum { HOLDERS_SHOWN = 40, NAME_COLUMNS = 60 };

static bool later;

/* Three digits or four, and the unit: 4096 is 4K. */
static const char *size_text(uint64_t size, char *text, size_t room)
{
        static const char units[] = "BKMGTPE";
        unsigned unit = 0;
        uint64_t rest = 0;

        if (size == UNKNOWN)
                return "-";
        for (; size >= 10000 || (size >= 1024 && size % 1024 == 0 && rest == 0); unit++) {
                rest = size % 1024;
                size /= 1024;
        }
        if (unit == 0)
                snprintf(text, room, "%" PRIu64, size);
        else
                snprintf(text, room, "%" PRIu64 "%c", size, units[unit]);
        return text;
}

static void put_size(FILE *out, uint64_t size)
{
        char text[32];

        fprintf(out, " %9s", size_text(size, text, sizeof text));
}

static void begin(FILE *out)
{
        (void)out;
        later = false;
}

static const char *state_text(char state)
{
        switch (state) {
        case 'R':
                return "running";
        case 'S':
                return "sleeping";
        case 'D':
                return "waiting for a device (D)";
        case 'T':
                return "STOPPED by a signal";
        case 't':
                return "STOPPED by a debugger";
        case 'Z':
                return "ended (zombie)";
        case 'I':
                return "idle";
        default:
                return "in a state not known";
        }
}

static void begin_target(FILE *out, const struct target *target)
{
        if (later)
                fputc('\n', out);
        later = true;
        if (target->pid)
                fprintf(out, "process %" PRIu32, target->pid);
        if (target->pid && target->thread.state) {
                fputs(" (", out);
                text_plain(out, target->thread.name, NAME_COLUMNS);
                fprintf(out, "), %s", state_text(target->thread.state));
        }
        if (target->path) {
                fputs("file ", out);
                text_plain(out, target->path, 0);
        }
        if (target->fd >= 0)
                fprintf(out, "%sdescriptor %d", target->pid ? ", " : "", target->fd);
        fputc('\n', out);
        fprintf(out, "  %-7s %9s %9s %9s %9s %9s %5s  %s\n", "KIND", "LENGTH", "CAPACITY", "RESIDENT", "HUGE", "LOCKED",
                "FD", "NAME");
}

static void put_who(FILE *out, const struct holder *holder)
{
        if (!holder->pid) {
                fputs("a process that is not known", out);
                return;
        }
        fprintf(out, "process %" PRIu32, holder->pid);
        if (holder->tid)
                fprintf(out, ", thread %" PRIu32, holder->tid);
        if (holder->thread.state) {
                fputs(" (", out);
                text_plain(out, holder->thread.name, NAME_COLUMNS);
                fprintf(out, "), %s", state_text(holder->thread.state));
        }
}

static void put_lanes(FILE *out, const struct picture *picture, const struct holder *holder)
{
        if (holder->first == picture->lanes)
                fputs("length", out);
        else if (holder->first == holder->last)
                fprintf(out, "lane %" PRIu32, holder->first);
        else if (holder->last < picture->lanes)
                fprintf(out, "lanes %" PRIu32 " to %" PRIu32, holder->first, holder->last);
        else
                fprintf(out, "lanes from %" PRIu32 ", and the length", holder->first);
}

static void put_holder(FILE *out, const struct picture *picture, const struct holder *holder)
{
        fputs("          ", out);
        put_lanes(out, picture, holder);
        fputs(": ", out);
        switch (holder->hold) {
        case HOLD_DIED:
                fputs("a writer DIED within: ", out);
                break;
        case HOLD_WAITS:
                fputs("waited for by ", out);
                break;
        case HOLD_WRITES:
                fputs("written by ", out);
                break;
        case HOLD_READS:
                fputs(holder->slice ? "read by a slice of " : "read by ", out);
                break;
        }
        put_who(out, holder);
        fputc('\n', out);
}

/* What the header says of the lock. */
static void put_lock(FILE *out, const struct picture *picture)
{
        size_t counts[4] = { 0 };
        char text[32];

        for (size_t i = 0; i < picture->busy_count; i++)
                counts[picture->busy[i].hold]++;
        fprintf(out, "          %" PRIu32 " lane%s of %s", picture->lanes, picture->lanes == 1 ? "" : "s",
                size_text(picture->lane_size, text, sizeof text));
        if (picture->frozen)
                fputs(", frozen", out);
        fprintf(out, ": %zu written, %zu read, %zu dead", counts[HOLD_WRITES], counts[HOLD_READS] + counts[HOLD_WAITS],
                counts[HOLD_DIED]);
        if (picture->kind == MAP_SHARED)
                fprintf(out, "; slots: %" PRIu32 " of %" PRIu32, picture->slots, picture->slots_max);
        else
                fputs("; locked by the kernel", out);
        fputc('\n', out);
        if (picture->old_run)
                fputs("          of another run of the machine: who had it is gone\n", out);
        else if (!picture->pids_known)
                fputs("          its PIDs and TIDs are of another PID namespace\n", out);
}

static void put_seals(FILE *out, int seals)
{
        const char *name;
        int bit;

        if (seals <= 0)
                return;
        fputs("          sealed:", out);
        for (unsigned i = 0; (name = picture_seal(i, &bit)); i++)
                if (seals & bit)
                        fprintf(out, " %s", name);
        fputc('\n', out);
}

static void put_map(FILE *out, const struct picture *picture)
{
        const char *name = picture->path ? picture->path : picture->name;

        fprintf(out, "  %-7s", picture_kind(picture->kind));
        put_size(out, picture->length);
        put_size(out, picture->capacity);
        put_size(out, picture->resident);
        put_size(out, picture->huge);
        put_size(out, picture->locked);
        if (picture->fd >= 0)
                fprintf(out, " %5d  ", picture->fd);
        else
                fprintf(out, " %5s  ", "-");
        text_plain(out, name ? name : "-", 0);
        fputc('\n', out);
        if (picture->problem)
                fprintf(out, "          %s\n", picture->problem);
        put_seals(out, picture->seals);
        if (picture->kind == MAP_SHARED || picture->kind == MAP_FILE)
                put_lock(out, picture);
        for (size_t i = 0; i < picture->holder_count && i < HOLDERS_SHOWN; i++)
                put_holder(out, picture, &picture->holders[i]);
        if (picture->holder_count > HOLDERS_SHOWN)
                fprintf(out, "          and %zu more, which --json tells\n", picture->holder_count - HOLDERS_SHOWN);
}

static void end_target(FILE *out, const struct target *target, uint64_t omitted)
{
        if (target->why[0])
                fprintf(out, "  %s\n", target->why);
        if (omitted)
                fprintf(out, "  and %" PRIu64 " mappings that were not looked at\n", omitted);
}

static void end(FILE *out, uint64_t unseen)
{
        if (unseen)
                fprintf(out, "%s%" PRIu64 " process%s may not be looked at\n", later ? "\n" : "", unseen,
                        unseen == 1 ? "" : "es");
        else if (!later)
                fputs("no process has a map that can be seen\n", out);
}

const struct show show_table = { begin, begin_target, put_map, end_target, end };
