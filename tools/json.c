/* json.c - what is known of maps, for programs
 *
 * SPDX-License-Identifier: MIT
 *
 * One document a round, in one line.  Its members are in ammap-inspect(1).
 */
#include "picture.h"
#include "text.h"

#include "ammap.h"

#include <inttypes.h>

static bool later_target, later_map;

static void put_text(FILE *out, const char *name, const char *text)
{
        fprintf(out, ",\"%s\":", name);
        text_json(out, text);
}

static void put_number(FILE *out, const char *name, uint64_t number)
{
        if (number == UNKNOWN)
                fprintf(out, ",\"%s\":null", name);
        else
                fprintf(out, ",\"%s\":%" PRIu64, name, number);
}

static void put_truth(FILE *out, const char *name, bool truth)
{
        fprintf(out, ",\"%s\":%s", name, truth ? "true" : "false");
}

static void put_state(FILE *out, const struct thread *thread)
{
        const char state[2] = { thread->state, '\0' };

        put_text(out, "state", thread->state ? state : NULL);
        put_text(out, "comm", thread->state ? thread->name : NULL);
}

static void begin(FILE *out)
{
        fprintf(out, "{\"schema\":1,\"version\":\"%s\",\"targets\":[", AMMAP_VERSION);
        later_target = false;
}

static void begin_target(FILE *out, const struct target *target)
{
        fprintf(out, "%s{\"pid\":", later_target ? "," : "");
        if (target->pid)
                fprintf(out, "%" PRIu32, target->pid);
        else
                fputs("null", out);
        put_number(out, "fd", target->fd < 0 ? UNKNOWN : (uint64_t)target->fd);
        put_text(out, "file", target->path);
        put_state(out, &target->thread);
        fputs(",\"maps\":[", out);
        later_target = true;
        later_map = false;
}

static void put_seals(FILE *out, int seals)
{
        const char *name, *between = "";
        int bit;

        if (seals < 0) {
                fputs(",\"seals\":null", out);
                return;
        }
        fputs(",\"seals\":[", out);
        for (unsigned i = 0; (name = picture_seal(i, &bit)); i++)
                if (seals & bit) {
                        fprintf(out, "%s\"%s\"", between, name);
                        between = ",";
                }
        fputc(']', out);
}

/* The one behind the last is the length's. */
static void put_lane(FILE *out, const struct picture *picture, uint32_t lane)
{
        if (lane == picture->lanes)
                fputs("\"length\"", out);
        else
                fprintf(out, "%" PRIu32, lane);
}

static void put_busy(FILE *out, const struct picture *picture)
{
        fputs(",\"busy\":[", out);
        for (size_t i = 0; i < picture->busy_count; i++) {
                const struct busy *busy = &picture->busy[i];

                fprintf(out, "%s{\"lane\":", i ? "," : "");
                put_lane(out, picture, busy->lane);
                put_text(out, "state", picture_hold(busy->hold));
                put_number(out, "sequence", busy->sequence);
                put_truth(out, "waiters", busy->waiters);
                fputc('}', out);
        }
        fputc(']', out);
}

static void put_holders(FILE *out, const struct picture *picture)
{
        fputs(",\"holders\":[", out);
        for (size_t i = 0; i < picture->holder_count; i++) {
                const struct holder *holder = &picture->holders[i];

                fprintf(out, "%s{\"hold\":\"%s\",\"first\":", i ? "," : "", picture_hold(holder->hold));
                put_lane(out, picture, holder->first);
                fputs(",\"last\":", out);
                put_lane(out, picture, holder->last);
                put_number(out, "pid", holder->pid ? holder->pid : UNKNOWN);
                put_number(out, "tid", holder->tid ? holder->tid : UNKNOWN);
                put_truth(out, "slice", holder->slice);
                put_state(out, &holder->thread);
                fputc('}', out);
        }
        fputc(']', out);
}

static void put_map(FILE *out, const struct picture *picture)
{
        const bool locks = picture->kind == MAP_SHARED || picture->kind == MAP_FILE;

        fprintf(out, "%s{\"kind\":\"%s\"", later_map ? "," : "", picture_kind(picture->kind));
        later_map = true;
        put_text(out, "name", picture->name);
        put_text(out, "path", picture->path);
        put_text(out, "problem", picture->problem);
        put_number(out, "address", picture->address);
        put_number(out, "fd", picture->fd < 0 ? UNKNOWN : (uint64_t)picture->fd);
        put_number(out, "inode", picture->inode);
        put_number(out, "length", picture->length);
        put_number(out, "capacity", picture->capacity);
        put_number(out, "mapped", picture->mapped);
        put_number(out, "resident", picture->resident);
        put_number(out, "huge", picture->huge);
        put_number(out, "locked", picture->locked);
        put_number(out, "allocated", picture->allocated);
        put_seals(out, picture->seals);
        put_number(out, "lanes", locks ? picture->lanes : UNKNOWN);
        put_number(out, "lane_size", locks ? picture->lane_size : UNKNOWN);
        put_number(out, "generation", picture->generation);
        put_truth(out, "frozen", picture->frozen);
        put_number(out, "slots", picture->kind == MAP_SHARED ? picture->slots : UNKNOWN);
        put_number(out, "slots_used", picture->kind == MAP_SHARED ? picture->slots_used : UNKNOWN);
        put_number(out, "slots_max", picture->kind == MAP_SHARED ? picture->slots_max : UNKNOWN);
        put_number(out, "pid_namespace", picture->pid_space);
        put_truth(out, "pids_known", picture->pids_known);
        put_truth(out, "old_run", picture->old_run);
        put_busy(out, picture);
        put_holders(out, picture);
        fputc('}', out);
}

static void end_target(FILE *out, const struct target *target, uint64_t omitted)
{
        fputc(']', out);
        put_text(out, "error", target->why[0] ? target->why : NULL);
        put_number(out, "omitted", omitted);
        fputc('}', out);
}

static void end(FILE *out, uint64_t unseen)
{
        fputc(']', out);
        put_number(out, "unseen", unseen);
        fputs("}\n", out);
}

const struct show show_json = { begin, begin_target, put_map, end_target, end };
